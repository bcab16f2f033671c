"""A command without a reply is repeated, then its step fails: no order stays pending, and failed compensations are visible."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from sqlalchemy import func, select, text

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.messaging.message import Message
from chassis.run.service import Service
from chassis.run.testing import System
from chassis.storage import postgres, store
from contracts.payments import (
    AuthorizePayment,
    CapturePayment,
    PaymentVoided,
    RefundPayment,
    RefundRefused,
    VoidPayment,
)
from contracts.reasons import Reason
from contracts.stock import CommitStock, ReleaseStock, ReserveStock, RestockStock, StockReleased, StockReserved
from services.orders import deadlines
from services.orders.models import Order
from services.orders.models.steps import MAX_WAIT, RETRY_POLICIES
from services.orders.settings import Settings
from tests.orders.conftest import Deliver, confirming, fresh_key, fulfilling, order_id, order_of, published

MissDeadlines = Callable[[int], list[str]]
Stuck = Callable[[UUID], str | None]
Headers = dict[str, str]


@pytest.fixture
def miss_deadlines(orders: Service) -> MissDeadlines:
    """Let so many deadlines pass without a reply; returns the types of the messages that orders sends."""

    def run(count: int) -> list[str]:
        system = System([orders])
        system.drain()
        system.sent.clear()
        for _ in range(count):
            with store.active(orders.store), orders.store.transaction():
                latest = postgres.session().scalar(select(func.max(Order.due_at))) or clock.now()
                # An order's last step may be due up to the longest wait after its first.
                deadlines.watch(latest + MAX_WAIT, seconds=60)
            system.drain()
        return [envelope.type for envelope in system.sent]

    return run


def state(http: FlaskClient, id_: UUID, staff: Headers) -> tuple[str, str | None]:
    order = http.get(f"/orders/{id_}", headers=staff).json
    return order["status"], order["reason"]


def test_a_command_with_a_timely_reply_is_not_repeated(
    orders: Service, placed: dict[str, Any], deliver: Deliver
) -> None:
    deliver(StockReserved(order_id(placed)))
    with store.active(orders.store), orders.store.transaction():
        deadlines.watch(clock.now() + LEEWAY + timedelta(seconds=20))
    assert published(deliver()) == []


@pytest.mark.parametrize(("seconds", "repeated"), [(-1, []), (1, ["stock.reserve"])])
def test_a_deadline_does_not_end_early_by_another_machines_clock(
    orders: Service, placed: dict[str, Any], deliver: Deliver, seconds: int, repeated: list[str]
) -> None:
    deliver()
    with store.active(orders.store), orders.store.transaction():
        order = Order.get_for_update(order_id(placed))
        sent_at = postgres.session().scalar(text("SELECT max(sent_at) FROM events"))
        assert order.due_at is not None
        deadlines.watch(max(order.due_at, sent_at + timedelta(seconds=15)) + LEEWAY + timedelta(seconds=seconds))
    assert [envelope.type for envelope in deliver().sent] == repeated


def test_repeated_commands_are_counted(placed: dict[str, Any], miss_deadlines: MissDeadlines) -> None:
    before = reminders("stock.reserve")
    miss_deadlines(2)
    assert reminders("stock.reserve") == before + 2


def reminders(command: str) -> float:
    return REGISTRY.get_sample_value("souk_deadline_reminders_total", {"command": command}) or 0


@pytest.fixture
def an_hours_grace(orders: Service) -> Iterator[None]:
    before = Settings.current()
    Settings.use(**before.model_dump() | {"reply_grace_seconds": 3_600})
    yield
    Settings.use(**before.model_dump())


@pytest.mark.usefixtures("an_hours_grace")
def test_grace_is_added_to_every_deadline(orders: Service, placed: dict[str, Any], deliver: Deliver) -> None:
    deliver()
    for minutes, repeated in ((59, []), (62, ["stock.reserve"])):
        with store.active(orders.store), orders.store.transaction():
            deadlines.watch(clock.now() + timedelta(minutes=minutes))
        assert [envelope.type for envelope in deliver().sent] == repeated


def test_without_a_reply_from_stock_the_order_is_cancelled_after_four_attempts(
    http: FlaskClient, placed: dict[str, Any], miss_deadlines: MissDeadlines, staff: Headers
) -> None:
    assert miss_deadlines(4) == ["stock.reserve"] * 3 + ["order.cancelled", "stock.release"]
    assert state(http, order_id(placed), staff) == ("cancelled", "reservation_timed_out")


def test_without_a_reply_from_the_bank_the_stock_is_released(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, miss_deadlines: MissDeadlines, staff: Headers
) -> None:
    deliver(StockReserved(order_id(placed)))
    assert miss_deadlines(5) == ["payment.authorize"] * 4 + ["order.cancelled", "stock.release", "payment.void"]
    assert state(http, order_id(placed), staff) == ("cancelled", "authorization_timed_out")


@pytest.mark.parametrize(
    ("missing", "received", "undone"),
    [("stock.commit", 1, "payment.refund"), ("payment.capture", 0, "stock.restock")],
)
def test_a_confirmed_order_is_cancelled_only_after_a_long_time(
    http: FlaskClient,
    placed: dict[str, Any],
    deliver: Deliver,
    miss_deadlines: MissDeadlines,
    stuck: Stuck,
    staff: Headers,
    missing: str,
    received: int,
    undone: str,
) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_), fulfilling(id_)[received])
    assert miss_deadlines(7) == [missing] * 7
    assert state(http, id_, staff)[0] == "confirmed"
    assert miss_deadlines(1) == ["order.cancelled", undone]
    # Whether it was sold or paid is still unknown, which needs an operator.
    assert set(miss_deadlines(3)) == {missing, undone}
    assert missing in (stuck(id_) or "")


@pytest.mark.parametrize(
    ("command", "first", "total"),
    [
        (ReserveStock, 15, 225),
        (AuthorizePayment, 30, 930),
        (CommitStock, 15, 3_825),
        (CapturePayment, 15, 3_825),
        (ReleaseStock, 15, 945),
        (VoidPayment, 15, 945),
        (RestockStock, 15, 945),
        (RefundPayment, 15, 945),
    ],
)
def test_attempts_end_after_the_documented_time(command: type[Message], first: int, total: int) -> None:
    """In seconds: 4, 16 and 64 minutes; afterwards every hour."""
    policy = RETRY_POLICIES[command]
    waits = [policy.after(attempt).total_seconds() for attempt in range(1, policy.times + 1)]
    assert (waits[0], sum(waits), policy.after(10_000)) == (first, total, timedelta(hours=1))


@pytest.fixture
def cancelled(placed: dict[str, Any], deliver: Deliver, http: FlaskClient, customer: Headers) -> UUID:
    """An order that was paid, sold and then cancelled."""
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    return id_


def test_a_compensation_without_a_reply_is_stuck_and_repeated(
    http: FlaskClient, cancelled: UUID, miss_deadlines: MissDeadlines, stuck: Stuck, customer: Headers, staff: Headers
) -> None:
    assert miss_deadlines(5) == ["stock.restock", "payment.refund"] * 5
    assert stuck(cancelled) is None
    miss_deadlines(1)
    assert (stuck(cancelled) or "").endswith(": A service has not replied in time.")
    assert set(miss_deadlines(3)) == {"stock.restock", "payment.refund"}
    assert REGISTRY.get_sample_value("souk_sagas_stuck") == 1
    listed = http.get("/orders/?stuck=true", headers=staff).json["items"]
    assert [order["id"] for order in listed] == [str(cancelled)]
    assert http.get("/orders/?stuck=true", headers=customer).status_code == 403
    timeline = http.get(f"/orders/{cancelled}/events", headers=customer).json["items"]
    assert [step["reason"] for step in timeline if step["type"] == "order.stuck"] == [None]


def resume(orders: Service, id_: UUID) -> None:
    with store.active(orders.store), orders.store.transaction():
        deadlines.resume(Order.get_for_update(id_), "nadia")


def test_a_resumed_order_is_no_longer_stuck_and_ends_with_its_replies(
    orders: Service,
    placed: dict[str, Any],
    deliver: Deliver,
    miss_deadlines: MissDeadlines,
    stuck: Stuck,
    http: FlaskClient,
    customer: Headers,
) -> None:
    id_ = order_id(placed)
    deliver(StockReserved(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    miss_deadlines(6)
    assert stuck(id_) is not None
    resume(orders, id_)
    assert stuck(id_) is None
    assert published(deliver()) == ["stock.release", "payment.void"]
    miss_deadlines(5)
    assert stuck(id_) is None, "not stuck before as many attempts as at first"
    deliver(StockReleased(id_), PaymentVoided(id_, None))
    assert miss_deadlines(3) == []


def test_a_late_reply_ends_a_stuck_order(
    placed: dict[str, Any],
    deliver: Deliver,
    miss_deadlines: MissDeadlines,
    stuck: Stuck,
    http: FlaskClient,
    customer: Headers,
) -> None:
    id_ = order_id(placed)
    http.delete(f"/orders/{id_}", headers=customer)
    miss_deadlines(7)
    assert stuck(id_) is not None
    deliver(StockReleased(id_))
    assert stuck(id_) is None
    assert miss_deadlines(3) == []


def test_a_refused_refund_is_stuck_until_it_is_resumed(
    orders: Service, cancelled: UUID, deliver: Deliver, stuck: Stuck
) -> None:
    refund = UUID(deliver().sent[-1].data["refund_id"])
    deliver(RefundRefused(cancelled, refund, Reason.REFUND_TO_LOST_CARD))
    assert (stuck(cancelled) or "").startswith(f"payment.refund {refund}: The bank did not accept the refund")
    resume(orders, cancelled)
    system = deliver()
    assert published(system) == ["stock.restock", "payment.refund"]
    assert UUID(system.sent[-1].data["refund_id"]) != refund


def test_a_command_that_was_not_sent_is_not_late(
    orders: Service, placed: dict[str, Any], http: FlaskClient, staff: Headers
) -> None:
    with store.active(orders.store):
        for hours in range(1, 7):
            with orders.store.transaction():
                deadlines.watch(clock.now() + timedelta(hours=hours))
    assert state(http, order_id(placed), staff)[0] == "pending"
    system = System([orders])
    system.drain()
    assert [envelope.type for envelope in system.sent] == ["stock.reserve"]


def test_a_command_that_left_late_is_given_its_whole_time(orders: Service, placed: dict[str, Any]) -> None:
    """The broker was unavailable for an hour."""
    system = System([orders])
    system.drain()
    with orders.store.engine.begin() as connection:
        connection.execute(text("UPDATE events SET sent_at = sent_at + interval '1 hour' WHERE type = 'stock.reserve'"))
    system.sent.clear()
    for seconds, repeated in ((10, []), (20, ["stock.reserve"])):
        with store.active(orders.store), orders.store.transaction():
            deadlines.watch(clock.now() + LEEWAY + timedelta(hours=1, seconds=seconds))
        system.drain()
        assert [envelope.type for envelope in system.sent] == repeated


CORRUPT_STEPS = "UPDATE orders SET steps = jsonb_set(steps, '{stock.reserve,version}', '99') WHERE id = :id"
NEXT_VERSION_TAKEN = """
    INSERT INTO events (id, stream, version, type, data, meta, occurred_at, sent_at)
    SELECT gen_random_uuid(), stream, version + 1, type, data, meta, occurred_at, occurred_at
    FROM events WHERE stream = :id ORDER BY version DESC LIMIT 1
"""


@pytest.mark.parametrize("damage", [CORRUPT_STEPS, NEXT_VERSION_TAKEN], ids=["our error", "the database's error"])
def test_a_damaged_order_does_not_hold_up_the_others(
    damage: str,
    orders: Service,
    product: Callable[..., dict[str, Any]],
    http: FlaskClient,
    customer: Headers,
    miss_deadlines: MissDeadlines,
    staff: Headers,
) -> None:
    body = order_of((product(), 1))
    ids = [http.post("/orders/", json=body, headers=customer | fresh_key()).json["id"] for _ in range(3)]
    with orders.store.engine.begin() as connection:
        connection.execute(text(damage), {"id": ids[1]})
    miss_deadlines(4)
    assert [state(http, UUID(id_), staff)[0] for id_ in ids] == ["cancelled", "pending", "cancelled"]


def test_an_order_that_is_being_changed_does_not_hold_up_the_others(
    orders: Service, product: Callable[..., dict[str, Any]], http: FlaskClient, customer: Headers
) -> None:
    body = order_of((product(), 1))
    busy, other = (http.post("/orders/", json=body, headers=customer | fresh_key()).json["id"] for _ in range(2))
    system = System([orders])
    system.drain()
    system.sent.clear()
    with orders.store.engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM orders WHERE id = :id FOR UPDATE"), {"id": busy})
        with store.active(orders.store), orders.store.transaction():
            deadlines.watch(clock.now() + LEEWAY + timedelta(seconds=20))
    system.drain()
    assert [envelope.subject for envelope in system.sent] == [other]


def test_a_run_that_takes_too_long_leaves_the_rest_to_the_next(
    orders: Service, product: Callable[..., dict[str, Any]], http: FlaskClient, customer: Headers
) -> None:
    body = order_of((product(), 1))
    ids = [http.post("/orders/", json=body, headers=customer | fresh_key()).json["id"] for _ in range(3)]
    system = System([orders])
    system.drain()
    repeated = []
    for _ in ids:
        system.sent.clear()
        with store.active(orders.store), orders.store.transaction():
            deadlines.watch(clock.now() + LEEWAY + timedelta(seconds=20), seconds=0)
        system.drain()
        [envelope] = system.sent
        repeated.append(envelope.subject)
    assert repeated == ids, "the most overdue first"


def test_it_is_shown_since_when_the_oldest_pending_order_waits(orders: Service, placed: dict[str, Any]) -> None:
    with store.active(orders.store), orders.store.transaction():
        deadlines.watch(clock.now() + timedelta(seconds=10))
    since = REGISTRY.get_sample_value("souk_oldest_pending_order_timestamp_seconds")
    assert since == datetime.fromisoformat(placed["created_at"]).timestamp()
