"""Every public route through the gateway, one request at a time, against the limits that were promised.

A response within 200 ms on average, a call between services within 100 ms, a statement of a database within 50 ms.
"""

import argparse
import base64
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg2
import urllib3
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.console import Console
from rich.table import Table

from bench import _mongo
from bench._shop import PASSWORD, Person, Recorder, operations

RESPONSE_MILLISECONDS, CALL_MILLISECONDS, STATEMENT_MILLISECONDS = 200, 100, 50
SLOWEST = 10

console = Console(highlight=False, width=120)


def main() -> None:
    parser = argparse.ArgumentParser(prog="./souk bench api", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="requests to each route (50)")
    rounds = parser.parse_args().rounds
    recorder = Recorder()
    admin = Person(Recorder()).register().promote()
    _round(recorder, admin)  # the first of each opens connections
    recorder.series.clear()
    before = _calls()
    for _ in range(rounds):
        _round(recorder, admin)
    _show_routes(recorder)
    _show_calls(before, _calls())
    with _logged_statements() as statements:
        for _ in range(max(1, rounds // 5)):
            _round(Recorder(), admin)
    _show_statements("PostgreSQL's statements", statements)
    _show_statements("MongoDB's commands, of products in one process", Statements(_mongo.timings(max(1, rounds // 5))))


def _round(recorder: Recorder, admin: Person) -> None:
    """A customer and the staff use everything once."""
    staff = Person(recorder)
    staff.headers, staff.id = admin.headers, admin.id
    customer = Person(recorder).register().log_in()
    _browse(customer)
    product = _stock(staff)
    _order(customer, staff, product)
    _pay(customer, staff)
    _notify(customer, staff)
    _manage_account(customer, staff)


def _browse(customer: Person) -> None:
    items = customer.call("GET", "/products/", query="?limit=20")["items"]
    customer.call("GET", "/products/search", query="?q=copper")
    customer.call("GET", "/products/categories")
    customer.call("GET", "/products/recommendations")
    for route in ("/products/{product_id}", "/products/{product_id}/recommendations"):
        customer.call("GET", route, product_id=items[0]["id"])


def _stock(staff: Person) -> str:
    described = {"sku": uuid4().hex[:12], "name": "Copper kettle", "category": "kitchen", "price": "12.50"}
    product: str = staff.call("POST", "/products/", {**described, "currency": "EUR", "stock_quantity": 50})["id"]
    of = {"product_id": product}
    staff.call("PUT", "/products/{product_id}", {**described, "description": "Holds a litre."}, **of)
    staff.call("GET", "/products/{product_id}/stock", **of)
    staff.call("PUT", "/products/{product_id}/stock", {"low_stock_threshold": 3}, **of)
    staff.call("POST", "/products/{product_id}/stock-adjustments", {"quantity": 5, "reason": "found"}, **of)
    staff.call("GET", "/products/{product_id}/stock-movements", **of)
    staff.call("GET", "/products/export", query="?format=jsonl")
    _import(staff, described)
    other = staff.call("POST", "/products/", {**described, "sku": uuid4().hex[:12]})["id"]
    staff.call("DELETE", "/products/{product_id}", product_id=other)
    return product


def _import(staff: Person, described: dict[str, str]) -> None:
    staff.headers = {**staff.headers, "Content-Type": "text/csv"}
    names = "sku,name,category,price,currency,stock_quantity"
    row = ",".join([*described.values(), "EUR", "50"])
    staff.call("POST", "/products/import", f"{names}\n{row}\n".encode())
    del staff.headers["Content-Type"]


def _order(customer: Person, staff: Person, product: str) -> None:
    body = {"lines": [{"product_id": product, "quantity": 1}], "payment_method": "tok_success"}
    shipped, cancelled = (customer.call("POST", "/orders/", body)["id"] for _ in range(2))
    _until_confirmed(customer, shipped)
    customer.call("GET", "/orders/")
    customer.call("GET", "/orders/{order_id}", order_id=shipped)
    customer.call("GET", "/orders/{order_id}/events", order_id=shipped)
    customer.call("GET", "/orders/user/{user_id}", user_id=customer.id)
    customer.call("DELETE", "/orders/{order_id}", order_id=cancelled)
    staff.call("PUT", "/orders/{order_id}/status", {"status": "shipped"}, order_id=shipped)
    staff.call("POST", "/orders/{order_id}/refunds", {"amount": "1.00"}, order_id=shipped)
    staff.call("GET", "/orders/analytics")


def _until_confirmed(customer: Person, order_id: str) -> None:
    quiet = Person(Recorder())
    quiet.headers = customer.headers
    until = time.monotonic() + 60
    while quiet.call("GET", "/orders/{order_id}", order_id=order_id)["status"] == "pending":
        if time.monotonic() > until:
            raise TimeoutError(order_id)
        time.sleep(0.05)


def _pay(customer: Person, staff: Person) -> None:
    terms = {"amount": "5.00", "currency": "EUR", "payment_method": "tok_success"}
    payment = customer.call("POST", "/payments/process", terms)["id"]
    held = customer.call("POST", "/payments/process", {**terms, "capture": False})["id"]
    customer.call("GET", "/payments/{payment_id}", payment_id=payment)
    customer.call("GET", "/payments/user/{user_id}", user_id=customer.id)
    staff.call("POST", "/payments/refund", {"payment_id": payment, "amount": "1.00"})
    customer.call("GET", "/payments/{payment_id}/refunds", payment_id=payment)
    staff.call("POST", "/payments/{payment_id}/capture", payment_id=held)
    staff.call("POST", "/payments/{payment_id}/void", payment_id=held)
    method = customer.call("POST", "/payments/methods", {"token": "tok_success", "label": "My blue card"})["id"]
    customer.call("GET", "/payments/methods")
    customer.call("DELETE", "/payments/methods/{method_id}", method_id=method)
    # Unsigned, so refused.
    customer.call("POST", "/payments/webhooks/{provider}", {}, provider="sandbox")


def _notify(customer: Person, staff: Person) -> None:
    to = {"user_id": customer.id}
    customer.call("GET", "/notifications/{user_id}/preferences", **to)
    customer.call("PUT", "/notifications/{user_id}/preferences", {"phone": "+4915112345678"}, **to)
    device = {
        "endpoint": f"https://push.example.com/{uuid4().hex}",
        "keys": {"p256dh": _public_key(), "auth": "A" * 22},
    }
    made = customer.call("POST", "/notifications/{user_id}/devices", device, **to)
    sent = staff.call("POST", "/notifications/send", {**to, "title": "Hello", "body": "Good morning."})
    staff.call("POST", "/notifications/email", {**to, "subject": "Hello", "body": "Good morning."})
    staff.call("POST", "/notifications/sms", {**to, "text": "Good morning."})
    staff.call("POST", "/notifications/push", {**to, "title": "Hello", "body": "Good morning."})
    customer.call("GET", "/notifications/push/key")
    for method in ("GET", "POST"):
        customer.call(method, "/notifications/unsubscribe/{token}", token="unsigned")  # noqa: S106 - refused
    listed = customer.call("GET", "/notifications/{user_id}", **to)["items"]
    notification = listed[0]["id"] if listed else (sent or {}).get("id", str(uuid4()))
    customer.call("GET", "/notifications/{user_id}/{notification_id}", **to, notification_id=notification)
    customer.call("GET", "/notifications/{user_id}/devices", **to)
    device_id = (made or {}).get("id", str(uuid4()))
    customer.call("DELETE", "/notifications/{user_id}/devices/{device_id}", **to, device_id=device_id)


def _public_key() -> str:
    """A browser's, for web push."""
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()


def _manage_account(customer: Person, staff: Person) -> None:
    own = {"user_id": customer.id}
    customer.call("GET", "/users/.well-known/jwks.json")
    customer.call("GET", "/users/me")
    customer.call("GET", "/users/{user_id}", **own)
    profile = {"email": customer.email, "username": customer.name, "first_name": "Leila", "last_name": "Haddad"}
    customer.call("PUT", "/users/{user_id}", profile, **own)
    customer.call("GET", "/users/{user_id}/preferences", **own)
    customer.call("PUT", "/users/{user_id}/preferences", {"locale": "en"}, **own)
    customer.call("GET", "/users/search", query="?q=be")
    customer.call("GET", "/users/{user_id}/security-events", **own)
    customer.call("POST", "/users/email/verification")
    customer.call("POST", "/users/email/verify", {"token": "unsigned"})
    customer.call("POST", "/users/password/forgot", {"email": customer.email})
    customer.call("POST", "/users/password/reset", {"token": "unsigned", "new_password": PASSWORD})
    staff.call("GET", "/users/", query="?limit=20")
    staff.call("GET", "/users/security-events")
    staff.call("PUT", "/users/{user_id}/roles", {"roles": ["customer"]}, **own)
    customer.call("POST", "/users/token/refresh", {"refresh_token": customer.refresh_token})
    customer.log_in()
    customer.call("PUT", "/users/me/password", {"current_password": PASSWORD, "new_password": PASSWORD + "!"})
    again = {"email": customer.email, "password": PASSWORD + "!"}
    customer.headers = {"Authorization": f"Bearer {customer.call('POST', '/users/login', again)['access_token']}"}
    customer.call("POST", "/users/logout", {"refresh_token": customer.refresh_token})
    customer.headers = {"Authorization": f"Bearer {customer.call('POST', '/users/login', again)['access_token']}"}
    customer.call("POST", "/users/logout/everywhere")
    customer.headers = {"Authorization": f"Bearer {customer.call('POST', '/users/login', again)['access_token']}"}
    customer.call("DELETE", "/users/{user_id}", **own)


def _show_routes(recorder: Recorder) -> None:
    title = f"Responses (limit: {RESPONSE_MILLISECONDS} ms on average)"
    table = Table("route", "average ms", "p99 ms", "of the limit", "statuses", title=title, title_justify="left")
    averages = []
    for route, series in sorted(recorder.series.items(), key=lambda each: -_average(each[1].milliseconds)):
        average = _average(series.milliseconds)
        averages.append(average)
        statuses = " ".join(f"{status}" for status in sorted(recorder.statuses[route]))
        ratio = f"{average / RESPONSE_MILLISECONDS:.0%}"
        table.add_row(route, f"{average:.1f}", f"{series.percentile(99):.1f}", ratio, statuses)
    console.print(table)
    everything = [each for series in recorder.series.values() for each in series.milliseconds]
    console.print(
        f"{len(averages)} routes, {len(everything):,} requests: {_average(everything):.1f} ms on average; "
        f"{sum(average > RESPONSE_MILLISECONDS for average in averages)} routes above the limit."
    )
    if missing := operations() - recorder.series.keys():
        console.print(f"Not measured: {', '.join(sorted(missing))}.")


def _average(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


@dataclass
class Calls:
    """`below`: calls by the upper bound of their seconds."""

    seconds: float = 0.0
    count: float = 0.0
    below: dict[float, float] = field(default_factory=dict)


_CALLS = re.compile(r'souk_client_call_seconds_(sum|count|bucket)\{(?:le="([^"]+)",)?upstream="(\w+)"\} (\S+)')


def _calls() -> dict[str, Calls]:
    """Of every program that calls another: "orders > products"."""
    found: dict[str, Calls] = {}
    for name, port in _programs():
        try:
            text = urllib3.request("GET", f"http://127.0.0.1:{port}/metrics", retries=False, timeout=10).data.decode()
        except (urllib3.exceptions.HTTPError, UnicodeDecodeError):
            continue
        for kind, bound, upstream, value in _CALLS.findall(text):
            calls = found.setdefault(f"{name} > {upstream}", Calls())
            if kind == "bucket":
                calls.below[float(bound)] = float(value)
            elif kind == "sum":
                calls.seconds = float(value)
            else:
                calls.count = float(value)
    return found


def _programs() -> Iterator[tuple[str, int]]:
    """Each with a port on which it listens."""
    for name, pid in json.loads(os.environ["SOUK_BENCH_PROGRAMS"]).items():
        for connection in psutil.Process(pid).net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                yield name, connection.laddr.port


def _show_calls(before: dict[str, Calls], after: dict[str, Calls]) -> None:
    title = f"Calls between services (limit: {CALL_MILLISECONDS} ms)"
    table = Table("call", "calls", "average ms", "within the limit", title=title, title_justify="left")
    for name, calls in sorted(after.items()):
        earlier = before.get(name, Calls())
        count = calls.count - earlier.count
        if not count:
            continue
        average = (calls.seconds - earlier.seconds) / count * 1000
        limit = CALL_MILLISECONDS / 1000
        within = (calls.below[limit] - earlier.below.get(limit, 0.0)) / count
        table.add_row(name, f"{count:.0f}", f"{average:.1f}", f"{within:.1%}")
    console.print(table)


_DURATION = re.compile(r"duration: ([0-9.]+) ms {2}(?:statement|execute [^:]*): (.*)", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'(?:::\w+)?|\b\d+(?:\.\d+)?\b")


@dataclass
class Statements:
    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    """By text without its values."""


@contextmanager
def _logged_statements() -> Iterator[Statements]:
    """Those of the block, by the server's log."""
    found = Statements()
    log = Path(os.environ["SOUK_TEST_SERVER_LOGS"], "postgres.log")
    with closing(psycopg2.connect(os.environ["SOUK_TEST_POSTGRES_URL"])) as connection:
        connection.autocommit = True  # as ALTER SYSTEM needs
        cursor = connection.cursor()
        start = log.stat().st_size
        cursor.execute("ALTER SYSTEM SET log_min_duration_statement = 0")
        cursor.execute("SELECT pg_reload_conf()")
        try:
            yield found
        finally:
            cursor.execute("ALTER SYSTEM RESET log_min_duration_statement")
            cursor.execute("SELECT pg_reload_conf()")
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
    for entry in re.split(r"\n(?=\d{4}-\d\d-\d\d )", text):
        if matched := _DURATION.search(entry):
            statement = _LITERAL.sub("?", " ".join(matched[2].split()))
            statement = re.sub(r"\?(?:, ?\?)+", "?, …", statement)
            found.milliseconds.setdefault(statement, []).append(float(matched[1]))


def _show_statements(kind: str, statements: Statements) -> None:
    title = f"{kind}, slowest first (limit: {STATEMENT_MILLISECONDS} ms)"
    table = Table("statement", "times", "average ms", "slowest ms", title=title, title_justify="left")
    ordered = sorted(statements.milliseconds.items(), key=lambda each: -max(each[1]))
    for text, milliseconds in ordered[:SLOWEST]:
        average = _average(milliseconds)
        table.add_row(text[:70], str(len(milliseconds)), f"{average:.2f}", f"{max(milliseconds):.2f}")
    console.print(table)
    everything = [each for milliseconds in statements.milliseconds.values() for each in milliseconds]
    slow = sum(each > STATEMENT_MILLISECONDS for each in everything)
    console.print(
        f"{len(statements.milliseconds)} kinds, run {len(everything):,} times: {_average(everything):.2f} ms on average; "
        f"{slow} times above the limit."
    )


if __name__ == "__main__":
    main()
