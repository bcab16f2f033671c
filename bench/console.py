"""What each page of the console weighs, with its style, script and icon, and how long it takes at the edge, warm.

One reader, page after page in turns. Promised: at most 100 kB and 200 ms.
"""

import json
import os
import re
import statistics
import time
from collections import defaultdict
from http.client import HTTPConnection
from urllib.parse import urlencode, urlsplit

import psycopg2
from rich.console import Console
from rich.table import Table

from bench._shop import PASSWORD, Person, Recorder

ROUNDS = 20

MAX_BYTES, MAX_MILLISECONDS = 100_000, 200

ASSETS = re.compile('(?:href|src)="(/assets/[^"]+)"')


class Reader:
    """A browser's connection and cookie."""

    def __init__(self) -> None:
        edge = urlsplit(os.environ["SOUK_BENCH_GATEWAY_URL"])
        self._connection = HTTPConnection(edge.hostname or "", edge.port, timeout=30)
        self._cookie = ""

    def get(self, path: str, **form: str) -> tuple[str, int]:
        """The page and its bytes; a form is sent."""
        body, headers = None, {"Cookie": self._cookie}
        if form:
            body, headers["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
        self._connection.request("POST" if form else "GET", path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        if cookie := response.headers.get("Set-Cookie"):
            self._cookie = cookie.partition(";")[0]
        if response.status not in (200, 303):
            raise RuntimeError(f"{path} returned {response.status}: {content.decode()[:300]}")
        return content.decode(errors="replace"), len(content)

    def log_in(self, who: Person) -> "Reader":
        page, _ = self.get("/account/login")
        [token] = set(re.findall('name="csrf" value="([^"]+)"', page))
        self.get("/account/login", csrf=token, email=who.email, password=PASSWORD)
        return self


def main() -> None:
    customer, staff = Person(Recorder()).register().log_in(), Person(Recorder()).register().promote()
    product = customer.call("GET", "/products/", query="?in_stock=true&limit=1")["items"][0]["id"]
    lines = [{"product_id": product, "quantity": 1}]
    order = customer.call("POST", "/orders/", {"lines": lines, "payment_method": "tok_success"})["id"]
    _wait_for_mail(order)
    pages = {
        Reader(): ["/", "/shop", f"/shop/products/{product}", "/docs/orders"],
        Reader().log_in(customer): ["/account", "/account/orders", f"/account/orders/{order}"],
        Reader().log_in(staff): [
            *("/staff", "/staff/find?q=bench", f"/staff/orders/{order}", f"/staff/customers/{customer.id}"),
            *("/staff/dead-letters", "/staff/trail", "/staff/products", f"/staff/products/{product}", "/staff/sales"),
        ],
    }
    taken, weights = defaultdict[str, list[float]](list), dict[str, int]()
    for _ in range(ROUNDS + 1):
        for reader, paths in pages.items():
            for path in paths:
                started = time.perf_counter()
                page, size = reader.get(path)
                taken[path].append((time.perf_counter() - started) * 1_000)
                weights[path] = size + sum(reader.get(asset)[1] for asset in set(ASSETS.findall(page)))
    _show(taken, weights)


def _wait_for_mail(order: str) -> None:
    deadline = time.monotonic() + 60
    with psycopg2.connect(json.loads(os.environ["SOUK_BENCH_DATABASES"])["notifications"]) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        while time.monotonic() < deadline:
            cursor.execute("SELECT 1 FROM notifications WHERE subject_id = %s AND status = 'sent'", (order,))
            if cursor.fetchone():
                return
            time.sleep(0.1)
    raise RuntimeError(f"No mail about order {order} in a minute.")


def _show(taken: dict[str, list[float]], weights: dict[str, int]) -> None:
    """Without the first round, which warms up."""
    table = Table("page", "kB", "p50 ms", "p95 ms", title=f"{ROUNDS} rounds")
    over = []
    for path, (_, *milliseconds) in taken.items():
        median, slow = statistics.median(milliseconds), sorted(milliseconds)[int(len(milliseconds) * 0.95) - 1]
        name = re.sub("[0-9a-f-]{36}", "ID", path)
        table.add_row(name, f"{weights[path] / 1000:.1f}", f"{median:.1f}", f"{slow:.1f}")
        if weights[path] > MAX_BYTES or slow > MAX_MILLISECONDS:
            over.append(name)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"Over {MAX_BYTES // 1000} kB or {MAX_MILLISECONDS} ms: {', '.join(over) or 'none'}.")


if __name__ == "__main__":
    main()
