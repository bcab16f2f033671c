"""An answer that does not come is asked for again, then given up: no order stays pending, and what cannot be undone is seen."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from sqlalchemy import func, select, text

from chassis.base import clock
from chassis.messaging.message import Message
from chassis.run.service import Service
from chassis.run.testing import System
from chassis.storage import postgres, store
from contracts.payments import AuthorizePayment, CapturePayment, PaymentVoided, RefundPayment, RefundRefused
from contracts.reasons import Reason
from contracts.stock import ReserveStock, StockReleased, StockReserved
from services.orders import deadlines
from services.orders.models import Order
from services.orders.models.steps import MAX_WAIT, PATIENCE
from tests.orders.conftest import Hear, confirming, fresh_key, fulfilling, order_id, order_of, said

Silence = Callable[[int], list[str]]
Stuck = Callable[[UUID], str | None]
Headers = dict[str, str]


@pytest.fixture
def silence(orders: Service) -> Silence:
    """Lets so many deadlines pass without an answer; gives the types of what orders says at them."""

    def pass_by(deadlines_: int) -> list[str]:
        system = System([orders])
        system.drain()
        system.sent.clear()
        for _ in range(deadlines_):
            with store.active(orders.store), orders.store.transaction():
                latest = postgres.session().scalar(select(func.max(Order.due_at))) or clock.now()
                # Of an order's several steps the later one may be due up to the longest wait after the first.
                deadlines.watch(latest + MAX_WAIT, seconds=60)
            system.drain()
        return [envelope.type for envelope in system.sent]

    return pass_by


def told(http: FlaskClient, id_: UUID, staff: Headers) -> tuple[str, str | None]:
    order = http.get(f"/orders/{id_}", headers=staff).json
    return order["status"], order["reason"]


def test_an_answer_in_time_is_not_asked_for_again(orders: Service, placed: dict[str, Any], hear: Hear) -> None:
    hear(StockReserved(order_id(placed)))
    with store.active(orders.store), orders.store.transaction():
        deadlines.watch(clock.now() + timedelta(seconds=20))
    assert said(hear()) == []


def test_stock_that_never_answers_is_asked_four_times_then_called_off(
    http: FlaskClient, placed: dict[str, Any], silence: Silence, staff: Headers
) -> None:
    assert silence(4) == ["stock.reserve"] * 3 + ["order.cancelled", "stock.release"]
    assert told(http, order_id(placed), staff) == ("cancelled", "reservation_timed_out")


def test_a_bank_that_never_answers_costs_no_goods(
    http: FlaskClient, placed: dict[str, Any], hear: Hear, silence: Silence, staff: Headers
) -> None:
    hear(StockReserved(order_id(placed)))
    assert silence(5) == ["payment.authorize"] * 4 + ["order.cancelled", "stock.release", "payment.void"]
    assert told(http, order_id(placed), staff) == ("cancelled", "authorization_timed_out")


@pytest.mark.parametrize(
    ("missing", "heard", "undone"),
    [("stock.commit", 1, "payment.refund"), ("payment.capture", 0, "stock.restock")],
)
def test_after_confirmation_our_word_is_taken_back_only_after_long(
    http: FlaskClient,
    placed: dict[str, Any],
    hear: Hear,
    silence: Silence,
    stuck: Stuck,
    staff: Headers,
    missing: str,
    heard: int,
    undone: str,
) -> None:
    id_ = order_id(placed)
    hear(*confirming(id_), fulfilling(id_)[heard])
    assert silence(7) == [missing] * 7
    assert told(http, id_, staff)[0] == "confirmed"
    assert silence(1) == ["order.cancelled", undone]
    # Whether it was sold or paid after all is still to be found out, and for that somebody is called.
    assert set(silence(3)) == {missing, undone}
    assert missing in (stuck(id_) or "")


@pytest.mark.parametrize(
    ("command", "minutes"), [(ReserveStock, 4), (AuthorizePayment, 16), (CapturePayment, 64), (RefundPayment, 16)]
)
def test_patience_ends_when_people_expect_it(command: type[Message], minutes: int) -> None:
    patience = PATIENCE[command]
    whole = sum((patience.after(attempt) for attempt in range(1, patience.times + 1)), timedelta())
    assert round(whole / timedelta(minutes=1)) == minutes
    assert patience.after(10_000) == MAX_WAIT


@pytest.fixture
def cancelled(placed: dict[str, Any], hear: Hear, http: FlaskClient, customer: Headers) -> UUID:
    """An order that was paid and sold, and then cancelled."""
    id_ = order_id(placed)
    hear(*confirming(id_), *fulfilling(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    return id_


def test_an_undoing_that_nobody_answers_is_stuck_and_asked_for_on_and_on(
    http: FlaskClient, cancelled: UUID, silence: Silence, stuck: Stuck, customer: Headers, staff: Headers
) -> None:
    assert silence(5) == ["stock.restock", "payment.refund"] * 5
    assert stuck(cancelled) is None
    silence(1)
    assert (stuck(cancelled) or "").endswith(": A service has not replied in time.")
    assert set(silence(3)) == {"stock.restock", "payment.refund"}
    assert REGISTRY.get_sample_value("souk_sagas_stuck") == 1
    listed = http.get("/orders/?stuck=true", headers=staff).json["items"]
    assert [order["id"] for order in listed] == [str(cancelled)]
    assert http.get("/orders/?stuck=true", headers=customer).status_code == 403
    timeline = http.get(f"/orders/{cancelled}/events", headers=customer).json["items"]
    assert [step["reason"] for step in timeline if step["type"] == "order.stuck"] == [None]


def resume(orders: Service, id_: UUID) -> None:
    with store.active(orders.store), orders.store.transaction():
        deadlines.resume(Order.get_for_update(id_), "nadia")


def test_a_stuck_order_is_resumed_and_free_once_all_is_answered(
    orders: Service,
    placed: dict[str, Any],
    hear: Hear,
    silence: Silence,
    stuck: Stuck,
    http: FlaskClient,
    customer: Headers,
) -> None:
    id_ = order_id(placed)
    hear(StockReserved(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    silence(6)
    assert stuck(id_) is not None
    resume(orders, id_)
    assert stuck(id_) is None
    assert said(hear()) == ["stock.release", "payment.void"]
    hear(StockReleased(id_), PaymentVoided(id_, None))
    assert silence(3) == []


def test_an_answer_that_comes_after_all_frees_a_stuck_order(
    placed: dict[str, Any], hear: Hear, silence: Silence, stuck: Stuck, http: FlaskClient, customer: Headers
) -> None:
    id_ = order_id(placed)
    http.delete(f"/orders/{id_}", headers=customer)
    silence(7)
    assert stuck(id_) is not None
    hear(StockReleased(id_))
    assert stuck(id_) is None
    assert silence(3) == []


def test_a_refund_that_is_refused_is_stuck_until_somebody_resumes_it(
    orders: Service, cancelled: UUID, hear: Hear, stuck: Stuck
) -> None:
    refund = UUID(hear().sent[-1].data["refund_id"])
    hear(RefundRefused(cancelled, refund, Reason.REFUND_TO_LOST_CARD))
    assert (stuck(cancelled) or "").startswith(f"payment.refund {refund}: The bank did not accept the refund")
    resume(orders, cancelled)
    system = hear()
    assert said(system) == ["stock.restock", "payment.refund"]
    assert UUID(system.sent[-1].data["refund_id"]) != refund


def test_while_the_broker_is_away_nobody_is_blamed_for_not_answering(
    orders: Service, placed: dict[str, Any], http: FlaskClient, staff: Headers
) -> None:
    with store.active(orders.store):
        for hours in range(1, 7):
            with orders.store.transaction():
                deadlines.watch(clock.now() + timedelta(hours=hours))
    assert told(http, order_id(placed), staff)[0] == "pending"
    system = System([orders])
    system.drain()
    assert [envelope.type for envelope in system.sent] == ["stock.reserve"]


def test_an_order_whose_story_makes_no_sense_does_not_hold_up_the_others(
    orders: Service,
    product: Callable[..., dict[str, Any]],
    http: FlaskClient,
    customer: Headers,
    silence: Silence,
    staff: Headers,
) -> None:
    body = order_of((product(), 1))
    ids = [http.post("/orders/", json=body, headers=customer | fresh_key()).json["id"] for _ in range(3)]
    with orders.store.engine.begin() as connection:
        connection.execute(
            text("UPDATE orders SET steps = jsonb_set(steps, '{stock.reserve,version}', '99') WHERE id = :id"),
            {"id": ids[1]},
        )
    silence(4)
    assert [told(http, UUID(id_), staff)[0] for id_ in ids] == ["cancelled", "pending", "cancelled"]


def test_a_turn_that_has_taken_long_leaves_the_rest_to_the_next(
    orders: Service, product: Callable[..., dict[str, Any]], http: FlaskClient, customer: Headers
) -> None:
    """Its orders are locked as long as it lasts."""
    body = order_of((product(), 1))
    ids = {http.post("/orders/", json=body, headers=customer | fresh_key()).json["id"] for _ in range(3)}
    system = System([orders])
    system.drain()
    asked_again = set()
    for _ in ids:
        system.sent.clear()
        with store.active(orders.store), orders.store.transaction():
            deadlines.watch(clock.now() + timedelta(seconds=20), seconds=0)
        system.drain()
        [envelope] = system.sent
        asked_again.add(envelope.subject)
    assert asked_again == ids


def test_the_age_of_the_oldest_pending_order_is_measured(orders: Service, placed: dict[str, Any]) -> None:
    with store.active(orders.store), orders.store.transaction():
        deadlines.watch(clock.now() + timedelta(seconds=10))
    assert 10 <= (REGISTRY.get_sample_value("souk_oldest_pending_order_seconds") or 0) < 40
