"""Failures of steps, and of what undoes them, with the real handlers: goods and money end where the order's status says."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from chassis.base import clock
from chassis.run.service import Service
from chassis.storage import postgres, store
from services.orders import commands, deadlines
from services.orders.models import Order
from services.orders.models.steps import MAX_WAIT
from services.products import audit
from services.products.models import Reservation
from tests.payments.books import contradictions, kept
from tests.saga.conftest import Customer, Platform

Register = Callable[[], Customer]


@pytest.fixture
def leila(customer: Register) -> Customer:
    return customer()


def nobody_answers(platform: Platform, deadlines_: int) -> None:
    """So many deadlines pass; whatever arrives in between is handled, or fails as it did."""
    orders = platform.services["orders"]
    for _ in range(deadlines_):
        with store.active(orders.store), orders.store.transaction():
            latest = postgres.session().scalar(select(func.max(Order.due_at))) or clock.now()
            deadlines.watch(latest + MAX_WAIT, seconds=60)
        platform.system.drain()
        platform.system.retried.clear()  # The queue gave them up.


def cancel(leila: Customer, order_id: str) -> int:
    status: int = leila.platform.ask("orders", "DELETE", f"/orders/{order_id}", leila.headers).status_code
    return status


def all_is_right(platform: Platform) -> bool:
    wrong = [*audit.audit(timeout_seconds=0).differences, *contradictions(platform.services["payments"])]
    assert wrong == []
    return not platform.system.dead_letters


def test_a_paid_order_that_is_cancelled_gives_back_goods_and_money(platform: Platform, leila: Customer) -> None:
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2))
    platform.system.drain()
    assert kept(platform.services["payments"]) == 2500
    assert cancel(leila, order_id) == 204
    platform.system.drain()
    order = leila.sees(order_id)
    assert (order["status"], order["refunded_amount"]) == ("refunded", "25.00")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert all_is_right(platform)


def test_a_capture_that_is_refused_cancels_and_gives_back_the_goods(platform: Platform, leila: Customer) -> None:
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2), payment_method="tok_capture_refused")
    platform.system.drain()
    order = leila.sees(order_id)
    assert (order["status"], order["captured_amount"]) == ("cancelled", "0.00")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert all_is_right(platform)


def test_an_undoing_that_throws_is_stuck_until_it_is_mended_and_resumed(
    platform: Platform, leila: Customer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The products service has lost what it knew of the order, so that each restocking raises."""
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2))
    platform.system.drain()
    lost = Reservation.objects(order_id=order_id)
    [document] = lost.as_pymongo()
    lost.delete()
    cancel(leila, order_id)
    platform.system.drain()
    nobody_answers(platform, 6)
    commands.main(["sagas", "list"])
    assert f"{order_id}  refunded" in (listed := capsys.readouterr().out)
    assert "stock.restock" in listed
    assert platform.stock(kettle) == 3

    Reservation._get_collection().insert_one(document)
    commands.main(["sagas", "resume", order_id])
    platform.system.drain()
    capsys.readouterr()
    commands.main(["sagas", "list"])
    assert capsys.readouterr().out == "No order is stuck.\n"
    assert platform.stock(kettle) == 5
    assert all_is_right(platform)


def test_a_refund_that_the_bank_refuses_is_seen(platform: Platform, leila: Customer) -> None:
    order_id = leila.order((platform.product(), 2), payment_method="tok_refund_refused")
    platform.system.drain()
    cancel(leila, order_id)
    platform.system.drain()
    assert leila.sees(order_id)["status"] == "cancelled"
    staff = platform.someone(uuid4(), "staff")
    [stuck] = platform.call("orders", "GET", "/orders/?stuck=true", staff)["items"]
    assert stuck["id"] == order_id
    assert kept(platform.services["payments"]) == 2500
    assert all_is_right(platform)


def test_many_cancellations_and_refunds_at_once_send_the_money_back_once(platform: Platform, leila: Customer) -> None:
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2))
    platform.system.drain()
    staff = platform.someone(UUID(int=1), "staff")

    def refund(amount: str | None) -> Any:
        body = {"amount": amount}
        return platform.ask("orders", "POST", f"/orders/{order_id}/refunds", staff, body).status_code

    deeds = [lambda: cancel(leila, order_id), lambda: refund(None), lambda: refund("10.00")] * 2
    with ThreadPoolExecutor(len(deeds)) as pool:
        statuses = {answer.result() for answer in [pool.submit(deed) for deed in deeds]}
    assert statuses <= {201, 204, 409}
    platform.system.drain()
    order = leila.sees(order_id)
    assert (order["status"], order["refunded_amount"]) == ("refunded", "25.00")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert all_is_right(platform)


def test_a_cancellation_that_races_the_capture_ends_in_one_way(platform: Platform, leila: Customer) -> None:
    """Whichever of them is first: the customer has paid nothing in the end."""
    kettle, orders = platform.product(stock_quantity=5), platform.services["orders"]
    order_id = leila.order((kettle, 2))
    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(_once_confirmed, orders, UUID(order_id), lambda: cancel(leila, order_id))
        platform.system.drain()
        assert cancelled.result() == 204
    platform.system.drain()
    assert leila.sees(order_id)["status"] in ("cancelled", "refunded")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert all_is_right(platform)


def _once_confirmed(orders: Service, order_id: UUID, do: Callable[[], int]) -> int:
    """Do it as soon as the order is confirmed, whatever else is going on."""
    while True:
        with orders.store.engine.connect() as connection:
            if connection.scalar(select(Order.status).where(Order.id == order_id)) != "pending":
                return do()
