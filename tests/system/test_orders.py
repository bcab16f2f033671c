"""Orders through the whole running platform: gateway, services, workers, Celery, RabbitMQ, databases, bank and mailbox."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import urllib3

from launcher.stack import Stack
from tests.installation import Person, mails_url, until

SignUp = Callable[[], Person]
Sell = Callable[[int], str]


def stock(person: Person, product_id: str) -> int:
    quantity: int = person.call("GET", f"/products/{product_id}")["stock_quantity"]
    return quantity


def mails(stack: Stack, person: Person) -> list[str]:
    """Subjects of the mails about orders that this person got."""
    url = f"{mails_url(stack)}?to={person.email}"
    subjects = [mail["subject"] for mail in urllib3.request("GET", url).json()["items"]]
    return [subject for subject in subjects if "order" in subject]


def test_an_order_is_paid_and_goes_through_every_service(stack: Stack, person: SignUp, product: Sell) -> None:
    leila, kettle = person(), product(5)
    order = leila.settled(leila.order(kettle, 2)["id"])
    assert (order["status"], order["total_amount"]) == ("confirmed", "25.00")
    assert stock(leila, kettle) == 3
    payments = f"/payments/user/{leila.id}"
    until(lambda: [each["status"] for each in leila.call("GET", payments)["items"]] == ["captured"])
    until(lambda: len(mails(stack, leila)) == 1)
    steps = [step["type"] for step in leila.call("GET", f"/orders/{order['id']}/events")["items"]]
    assert steps[0] == "order.placed"
    assert "order.confirmed" in steps


def test_a_declined_card_cancels_the_order_and_frees_its_stock(person: SignUp, product: Sell) -> None:
    leila, kettle = person(), product(5)
    placed = leila.order(kettle, 2, payment_method="tok_declined_insufficient_funds")
    order = leila.settled(placed["id"])
    assert (order["status"], bool(order["reason"])) == ("cancelled", True)
    until(lambda: stock(leila, kettle) == 5)


def test_two_orders_at_once_for_the_last_item_are_one_sale_and_one_charge(person: SignUp, product: Sell) -> None:
    both, kettle = [person(), person()], product(1)
    with ThreadPoolExecutor(2) as pool:
        placed = list(pool.map(lambda who: who.order(kettle)["id"], both))
        orders = list(pool.map(lambda who, id_: who.settled(id_), both, placed))
    assert sorted(order["status"] for order in orders) == ["cancelled", "confirmed"]
    assert stock(both[0], kettle) == 0
    charges = [each for who in both for each in who.call("GET", f"/payments/user/{who.id}")["items"]]
    assert len(charges) == 1


def test_the_same_key_twenty_times_at_once_is_one_order(person: SignUp, product: Sell) -> None:
    leila, kettle, key = person(), product(50), uuid4().hex
    with ThreadPoolExecutor(20) as pool:
        ids = {placed["id"] for placed in pool.map(lambda _: leila.order(kettle, key=key), range(20))}
    assert len(ids) == 1
    assert leila.settled(ids.pop())["status"] == "confirmed"
    assert len(leila.call("GET", "/orders/")["items"]) == 1
    assert stock(leila, kettle) == 49


@pytest.mark.parametrize(
    "program",
    ["orders-worker", "products-worker", "payments-worker", "payments-celery", "orders-web", "gateway", "rabbitmq"],
)
def test_a_program_killed_in_the_middle_costs_no_order(
    stack: Stack, person: SignUp, product: Sell, kill: Callable[[str], None], program: str
) -> None:
    leila, kettle = person(), product(20)
    placed = [leila.order(kettle)["id"] for _ in range(5)]
    kill(program)
    assert {leila.settled(order_id)["status"] for order_id in placed} == {"confirmed"}
    assert stock(leila, kettle) == 15
    payments = f"/payments/user/{leila.id}"
    until(lambda: [each["status"] for each in leila.call("GET", payments)["items"]] == ["captured"] * 5)
    until(lambda: len(mails(stack, leila)) == 5)
