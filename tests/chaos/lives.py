"""Lives of an order, led by a customer who retries with the same key until there is a response."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import urllib3

from contracts.orders import OrderCancelled, OrderConfirmed, OrderRefunded
from tests.chaos.truth import Expected
from tests.installation import Person, until

UNIT_AMOUNT = 1_250
"""Price of `tests.conftest.a_product` in minor units."""

QUANTITY = 2
TIMEOUT_SECONDS = 90


def insist(person: Person, method: str, path: str, body: Any = None, seconds: float = TIMEOUT_SECONDS) -> Any:
    """The JSON response, retried with one key. Raises AssertionError for a 4xx status."""
    key = uuid4().hex

    def attempt() -> urllib3.BaseHTTPResponse | None:
        try:
            response = person.send(method, path, body, **{"Idempotency-Key": key})
        except urllib3.exceptions.HTTPError:
            return None
        return None if response.status >= 500 or response.status == 429 else response

    response = until(attempt, seconds)
    assert response.status < 300, (response.status, response.data)
    return response.json() if response.data else None


def place(person: Person, product_id: str, payment_method: str, quantity: int = QUANTITY) -> str:
    """Id of the new order."""
    lines = [{"product_id": product_id, "quantity": quantity}]
    placed: str = insist(person, "POST", "/orders/", {"lines": lines, "payment_method": payment_method})["id"]
    return placed


def status(person: Person, order_id: str) -> str:
    found: str = insist(person, "GET", f"/orders/{order_id}")["status"]
    return found


@dataclass(frozen=True)
class Life:
    """`lead` does all that the customer does with an order, and returns its id. It ends as `expected`."""

    lead: Callable[[Person, str], str]
    expected: Expected
    is_steady: bool = True
    """Each such life passes every point as often as the last one. Where webhooks race with answers, that differs."""


def paid(person: Person, product_id: str) -> str:
    return place(person, product_id, "tok_success")


def declined(person: Person, product_id: str) -> str:
    return place(person, product_id, "tok_declined_insufficient_funds")


def called_off(person: Person, product_id: str) -> str:
    """Cancelled by the customer after payment."""
    order_id = place(person, product_id, "tok_success")
    payments = f"/payments/user/{person.id}"
    until(lambda: status(person, order_id) == "confirmed", TIMEOUT_SECONDS)
    until(lambda: insist(person, "GET", payments)["items"][0]["status"] == "captured", TIMEOUT_SECONDS)
    insist(person, "DELETE", f"/orders/{order_id}")
    return order_id


def confirmed_at_the_bank(person: Person, product_id: str) -> str:
    """The customer confirms on the bank's page, and webhooks report that and all that follows."""
    order_id = place(person, product_id, "tok_pending")

    def page() -> str | None:
        payments = insist(person, "GET", f"/payments/user/{person.id}")["items"]
        return next((payment["action_url"] for payment in payments if payment["order_id"] == order_id), None)

    agreed = urllib3.request("POST", until(page, TIMEOUT_SECONDS), fields={"decision": "confirm"}, timeout=30)
    assert agreed.status == 200, agreed.data
    return order_id


PRICE = QUANTITY * UNIT_AMOUNT
CONFIRMED, CANCELLED, REFUNDED = (fact.type for fact in (OrderConfirmed, OrderCancelled, OrderRefunded))
SOLD = Expected(QUANTITY, "confirmed", is_sold=True, captured=PRICE, notified=frozenset({CONFIRMED}))

LIVES: Mapping[str, Life] = {
    "paid": Life(paid, SOLD),
    "declined": Life(
        declined, Expected(QUANTITY, "cancelled", is_sold=False, captured=0, notified=frozenset({CANCELLED}))
    ),
    "called off": Life(
        called_off,
        Expected(
            QUANTITY,
            "refunded",
            is_sold=False,
            captured=PRICE,
            refunded=PRICE,
            notified=frozenset({CONFIRMED, CANCELLED, REFUNDED}),
        ),
    ),
    "confirmed at the bank": Life(confirmed_at_the_bank, SOLD, is_steady=False),
}
