"""Lives of an order, as a stubborn customer leads them: who gets no answer asks again, with the same key."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import urllib3

from contracts.orders import OrderCancelled, OrderConfirmed, OrderRefunded
from tests.chaos.truth import Expected
from tests.installation import Person, until

UNIT_AMOUNT = 1_250
"""Minor units that a piece of `tests.conftest.a_product` costs."""

QUANTITY = 2
PATIENCE_SECONDS = 90


def insist(person: Person, method: str, path: str, body: Any = None) -> Any:
    """The JSON answer, asked for with one key until the platform gives one. Raises AssertionError for a refusal."""
    key = uuid4().hex

    def ask() -> urllib3.BaseHTTPResponse | None:
        try:
            answer = person.send(method, path, body, **{"Idempotency-Key": key})
        except urllib3.exceptions.HTTPError:
            return None
        return None if answer.status >= 500 or answer.status == 429 else answer

    answer = until(ask, PATIENCE_SECONDS)
    assert answer.status < 300, (answer.status, answer.data)
    return answer.json() if answer.data else None


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
    """`lead` places an order and does what the customer does with it; gives its id. It ends as `expected`."""

    lead: Callable[[Person, str], str]
    expected: Expected
    is_steady: bool = True
    """Each such life passes every point as often as the last one. Where webhooks race with answers, that differs."""


def paid(person: Person, product_id: str) -> str:
    return place(person, product_id, "tok_success")


def declined(person: Person, product_id: str) -> str:
    return place(person, product_id, "tok_declined_insufficient_funds")


def called_off(person: Person, product_id: str) -> str:
    """Cancelled by the customer once it was paid."""
    order_id = place(person, product_id, "tok_success")
    payments = f"/payments/user/{person.id}"
    until(lambda: status(person, order_id) == "confirmed", PATIENCE_SECONDS)
    until(lambda: insist(person, "GET", payments)["items"][0]["status"] == "captured", PATIENCE_SECONDS)
    insist(person, "DELETE", f"/orders/{order_id}")
    return order_id


def confirmed_at_the_bank(person: Person, product_id: str) -> str:
    """The bank wants the customer's word, on a page of its own, and tells of it and all that follows by webhooks."""
    order_id = place(person, product_id, "tok_pending")

    def page() -> str | None:
        payments = insist(person, "GET", f"/payments/user/{person.id}")["items"]
        return next((payment["action_url"] for payment in payments if payment["order_id"] == order_id), None)

    agreed = urllib3.request("POST", until(page, PATIENCE_SECONDS), fields={"decision": "confirm"}, timeout=30)
    assert agreed.status == 200, agreed.data
    return order_id


PRICE = QUANTITY * UNIT_AMOUNT
CONFIRMED, CANCELLED, REFUNDED = (fact.type for fact in (OrderConfirmed, OrderCancelled, OrderRefunded))
SOLD = Expected(QUANTITY, "confirmed", is_sold=True, captured=PRICE, told=frozenset({CONFIRMED}))

LIVES: Mapping[str, Life] = {
    "paid": Life(paid, SOLD),
    "declined": Life(declined, Expected(QUANTITY, "cancelled", is_sold=False, captured=0, told=frozenset({CANCELLED}))),
    "called off": Life(
        called_off,
        Expected(
            QUANTITY,
            "refunded",
            is_sold=False,
            captured=PRICE,
            refunded=PRICE,
            told=frozenset({CONFIRMED, CANCELLED, REFUNDED}),
        ),
    ),
    "confirmed at the bank": Life(confirmed_at_the_bank, SOLD, is_steady=False),
}
