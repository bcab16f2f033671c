"""A demo order through the gateway, by a new customer."""

import json
import secrets
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from launcher.errors import LaunchError
from launcher.services import STAFF_EMAIL
from launcher.stack import Stack

FOLLOW_SECONDS = 30.0
TIMEOUT_SECONDS = 10
STAFF_FILE = "operator.json"


@dataclass(frozen=True)
class Hop:
    title: str
    milliseconds: float
    """Since the previous hop."""


@dataclass(frozen=True)
class Order:
    id: str
    product: str
    total: str
    customer: str
    timeline: list[Hop]
    total_milliseconds: float
    """From placed to confirmed."""


class Customer:
    def __init__(self, gateway_url: str) -> None:
        self._url = gateway_url
        self._token = ""

    def sign_up(self) -> dict[str, Any]:
        name = f"mina.{secrets.token_hex(4)}"
        email, password = f"{name}@example.com", secrets.token_urlsafe(16)
        names = {"first_name": "Mina", "last_name": "Okafor"}
        user = self.call("POST", "/users/register", {"email": email, "username": name, "password": password, **names})
        login = self.call("POST", "/users/login", {"email": email, "password": password})
        self._token = login["access_token"]
        return user

    @property
    def authorization(self) -> str:
        return f"Bearer {self._token}"

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Raises LaunchError with the API's error."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
        if self._token:
            headers["Authorization"] = self.authorization
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            problem = error.read(500).decode(errors="replace")
            raise LaunchError(f"{method} {path} returned {error.code}: {problem}") from error
        except (OSError, ValueError) as error:
            raise LaunchError(f"{method} {path} got no valid response: {error}") from error


def ensure_staff(stack: Stack) -> None:
    """An operator's account for the console, once."""
    if stack.state.read_json(STAFF_FILE):
        return
    names = {"username": "operator", "first_name": "Operator"}
    account = {"email": STAFF_EMAIL, "password": stack.installation.secrets["operator-password"]}
    Customer(stack.gateway_url).call("POST", "/users/register", {**account, **names})
    stack.run_once("users", "services.users.commands", "staff", "--email", STAFF_EMAIL, "--role", "admin")
    stack.state.write_json(STAFF_FILE, {"email": STAFF_EMAIL})


def place_order(gateway_url: str) -> Order:
    """Wait until it is paid and mailed. Raises LaunchError."""
    customer = Customer(gateway_url)
    user = customer.sign_up()
    product = _something_in_stock(customer)
    lines = [{"product_id": product["id"], "quantity": 1}]
    placed = customer.call("POST", "/orders/", {"lines": lines, "payment_method": "tok_success"})
    order = _until(lambda: _confirmed(customer, placed["id"]), "The order", "orders")
    _until(lambda: _captured(customer, user["id"]), "The payment", "payments")
    mail = _until(lambda: _mailed(customer, user["id"], order["id"]), "The mail", "notifications")
    events = customer.call("GET", f"/orders/{order['id']}/events")["items"]
    moments = [(event["type"], datetime.fromisoformat(event["occurred_at"])) for event in events]
    moments.append((f"mail sent: {mail['subject']}", datetime.fromisoformat(mail["sent_at"])))
    total = f"{order['total_amount']} {order['currency']}"
    return Order(order["id"], product["name"], total, user["email"], *_timeline(moments))


def _timeline(moments: list[tuple[str, datetime]]) -> tuple[list[Hop], float]:
    """The hops, and the milliseconds in total."""
    moments = sorted(moments, key=lambda moment: moment[1])
    start = moments[0][1]
    confirmed = next(at for title, at in moments if title == "order.confirmed")
    hops = [
        Hop(title, _milliseconds(earlier, at))
        for (_, earlier), (title, at) in zip([moments[0], *moments], moments, strict=False)
    ]
    return hops, _milliseconds(start, confirmed)


def _something_in_stock(customer: Customer) -> dict[str, Any]:
    for product in customer.call("GET", "/products/?limit=100")["items"]:
        if product["stock_quantity"] > 0:
            return dict(product)
    raise LaunchError("No product is in stock. To start over: ./souk down --wipe, then ./souk up.")


def _confirmed(customer: Customer, order_id: str) -> dict[str, Any] | None:
    order = customer.call("GET", f"/orders/{order_id}")
    if order["status"] == "cancelled":
        raise LaunchError(f"The order {order_id} was cancelled: {order['reason']}")
    return order if order["status"] == "confirmed" else None


def _captured(customer: Customer, user_id: str) -> dict[str, Any] | None:
    payments = customer.call("GET", f"/payments/user/{user_id}")["items"]
    return next((payment for payment in payments if payment["status"] == "captured"), None)


def _mailed(customer: Customer, user_id: str, order_id: str) -> dict[str, Any] | None:
    mails = customer.call("GET", f"/notifications/{user_id}")["items"]
    return next((mail for mail in mails if mail["subject_id"] == order_id and mail["sent_at"]), None)


def _until(seen: Callable[[], dict[str, Any] | None], what: str, service: str) -> dict[str, Any]:
    deadline = time.monotonic() + FOLLOW_SECONDS
    while (found := seen()) is None:
        if time.monotonic() > deadline:
            raise LaunchError(
                f"{what} was not done after {FOLLOW_SECONDS:.0f} s; for the reason see ./souk logs {service}."
            )
        time.sleep(0.05)
    return found


def _milliseconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds() * 1000
