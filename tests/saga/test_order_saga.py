"""An order's life through all five services: paid, refused for stock, declined, cancelled; and everything delivered twice."""

from collections.abc import Callable

import pytest

from chassis.messaging.relay import TASK_PREFIX
from devservers.mailbox.letter import Letter
from tests.conftest import Mailbox
from tests.saga.conftest import Customer, Platform

Register = Callable[[], Customer]


def about_orders(mailbox: Mailbox, customer: Customer) -> list[Letter]:
    """The customer's mails without the one that confirms the address."""
    return [letter for letter in mailbox.letters(customer.email) if "order" in letter.summary.subject.lower()]


def test_a_paid_order_goes_through_every_service(platform: Platform, customer: Register, mailbox: Mailbox) -> None:
    leila, kettle = customer(), platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2))
    platform.system.drain()
    order = leila.get(order_id)
    assert (order["status"], order["total_amount"]) == ("confirmed", "25.00")
    assert platform.stock(kettle) == 3
    [payment] = leila.payments()
    assert (payment["status"], payment["amount"], payment["order_id"]) == ("captured", "25.00", order_id)
    [letter] = about_orders(mailbox, leila)
    assert "confirmed" in letter.summary.subject.lower()
    assert platform.system.dead_letters == []


def test_an_order_without_enough_stock_is_cancelled_and_costs_nothing(
    platform: Platform, customer: Register, mailbox: Mailbox
) -> None:
    leila, kettle, lamp = customer(), platform.product(stock_quantity=1), platform.product(stock_quantity=9)
    order_id = leila.order((lamp, 2), (kettle, 2))
    platform.system.drain()
    order = leila.get(order_id)
    assert (order["status"], bool(order["reason"])) == ("cancelled", True)
    assert (platform.stock(kettle), platform.stock(lamp)) == (1, 9)
    assert leila.payments() == []
    assert len(about_orders(mailbox, leila)) == 1


def test_a_declined_payment_releases_the_stock(platform: Platform, customer: Register, mailbox: Mailbox) -> None:
    leila, kettle = customer(), platform.product(stock_quantity=2)
    order_id = leila.order((kettle, 2), payment_method="tok_declined_insufficient_funds")
    platform.system.drain()
    assert leila.get(order_id)["status"] == "cancelled"
    assert platform.stock(kettle) == 2
    assert [payment["status"] for payment in leila.payments()] == ["declined"]
    assert len(about_orders(mailbox, leila)) == 1


def test_two_orders_for_the_last_unit_end_as_one_sale(platform: Platform, customer: Register) -> None:
    leila, omar, kettle = customer(), customer(), platform.product(stock_quantity=1)
    first, second = leila.order((kettle, 1)), omar.order((kettle, 1))
    platform.system.drain()
    assert {leila.get(first)["status"], omar.get(second)["status"]} == {"confirmed", "cancelled"}
    assert platform.stock(kettle) == 0
    assert len([payment for buyer in (leila, omar) for payment in buyer.payments()]) == 1


def test_an_order_cancelled_before_its_replies_holds_nothing(platform: Platform, customer: Register) -> None:
    leila, kettle = customer(), platform.product(stock_quantity=2)
    order_id = leila.order((kettle, 2))
    platform.call("orders", "DELETE", f"/orders/{order_id}", leila.headers)
    platform.system.drain()
    assert leila.get(order_id)["status"] == "cancelled"
    assert platform.stock(kettle) == 2
    assert [payment for payment in leila.payments() if payment["status"] not in ("voided", "declined")] == []
    assert platform.system.dead_letters == []


@pytest.mark.parametrize("payment_method", ["tok_success", "tok_declined_stolen_card"])
def test_everything_delivered_twice_changes_nothing(
    platform: Platform, customer: Register, mailbox: Mailbox, payment_method: str
) -> None:
    leila, kettle = customer(), platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2), payment_method=payment_method)
    platform.system.drain()
    before = (leila.get(order_id), platform.stock(kettle), leila.payments())
    for envelope in list(platform.system.sent):
        for service in platform.services.values():
            is_task = envelope.type.startswith(TASK_PREFIX)
            is_handled = service.handlers is not None and envelope.type in service.handlers.by_type
            if envelope.source == service.name if is_task else is_handled:
                platform.system.deliver(service, envelope)
    platform.system.drain()
    assert (leila.get(order_id), platform.stock(kettle), leila.payments()) == before
    assert len(about_orders(mailbox, leila)) == 1
    assert platform.system.dead_letters == []
