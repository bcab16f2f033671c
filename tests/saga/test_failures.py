"""Failures of steps and compensations with the real handlers: stock and money end as the order's status says."""

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


def miss_deadlines(platform: Platform, count: int) -> None:
    """Let so many deadlines pass; messages in between are handled, or fail as before."""
    orders = platform.services["orders"]
    for _ in range(count):
        with store.active(orders.store), orders.store.transaction():
            latest = postgres.session().scalar(select(func.max(Order.due_at))) or clock.now()
            deadlines.watch(latest + MAX_WAIT, seconds=60)
        platform.system.drain()
        platform.system.retried.clear()  # They are dead letters by now.


def cancel(leila: Customer, order_id: str) -> int:
    status: int = leila.platform.request("orders", "DELETE", f"/orders/{order_id}", leila.headers).status_code
    return status


def is_consistent(platform: Platform) -> bool:
    differences = [*audit.audit(timeout_seconds=0).differences, *contradictions(platform.services["payments"])]
    assert differences == []
    return not platform.system.dead_letters


def test_cancelling_a_paid_order_returns_stock_and_money(platform: Platform, leila: Customer) -> None:
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2))
    platform.system.drain()
    assert kept(platform.services["payments"]) == 2500
    assert cancel(leila, order_id) == 204
    platform.system.drain()
    order = leila.get(order_id)
    assert (order["status"], order["refunded_amount"]) == ("refunded", "25.00")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert is_consistent(platform)


def test_a_refused_capture_cancels_the_order_and_returns_the_stock(platform: Platform, leila: Customer) -> None:
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2), payment_method="tok_capture_refused")
    platform.system.drain()
    order = leila.get(order_id)
    assert (order["status"], order["captured_amount"]) == ("cancelled", "0.00")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert is_consistent(platform)


def test_a_failing_compensation_is_stuck_until_it_is_repaired_and_resumed(
    platform: Platform, leila: Customer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The products service has lost the order's reservation, so that every restock fails."""
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2))
    platform.system.drain()
    lost = Reservation.objects(order_id=order_id)
    [document] = lost.as_pymongo()
    lost.delete()
    cancel(leila, order_id)
    platform.system.drain()
    miss_deadlines(platform, 6)
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
    assert is_consistent(platform)


def test_a_refund_that_the_bank_refuses_is_listed_as_stuck(platform: Platform, leila: Customer) -> None:
    order_id = leila.order((platform.product(), 2), payment_method="tok_refund_refused")
    platform.system.drain()
    cancel(leila, order_id)
    platform.system.drain()
    assert leila.get(order_id)["status"] == "cancelled"
    staff = platform.bearer(uuid4(), "staff")
    [stuck] = platform.call("orders", "GET", "/orders/?stuck=true", staff)["items"]
    assert stuck["id"] == order_id
    assert kept(platform.services["payments"]) == 2500
    assert is_consistent(platform)


def test_concurrent_cancellations_and_refunds_refund_once(platform: Platform, leila: Customer) -> None:
    kettle = platform.product(stock_quantity=5)
    order_id = leila.order((kettle, 2))
    platform.system.drain()
    staff = platform.bearer(UUID(int=1), "staff")

    def refund(amount: str | None) -> Any:
        body = {"amount": amount}
        return platform.request("orders", "POST", f"/orders/{order_id}/refunds", staff, body).status_code

    requests = [lambda: cancel(leila, order_id), lambda: refund(None), lambda: refund("10.00")] * 2
    with ThreadPoolExecutor(len(requests)) as pool:
        statuses = {future.result() for future in [pool.submit(request) for request in requests]}
    assert statuses <= {201, 204, 409}
    platform.system.drain()
    order = leila.get(order_id)
    assert (order["status"], order["refunded_amount"]) == ("refunded", "25.00")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert is_consistent(platform)


def test_a_cancellation_that_races_with_the_capture_costs_nothing(platform: Platform, leila: Customer) -> None:
    kettle, orders = platform.product(stock_quantity=5), platform.services["orders"]
    order_id = leila.order((kettle, 2))
    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(_once_confirmed, orders, UUID(order_id), lambda: cancel(leila, order_id))
        platform.system.drain()
        assert cancelled.result() == 204
    platform.system.drain()
    assert leila.get(order_id)["status"] in ("cancelled", "refunded")
    assert (platform.stock(kettle), kept(platform.services["payments"])) == (5, 0)
    assert is_consistent(platform)


def _once_confirmed(orders: Service, order_id: UUID, do: Callable[[], int]) -> int:
    """Do it as soon as the order is confirmed."""
    while True:
        with orders.store.engine.connect() as connection:
            if connection.scalar(select(Order.status).where(Order.id == order_id)) != "pending":
                return do()
