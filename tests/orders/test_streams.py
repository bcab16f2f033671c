"""Streams of events: rows derive from them alone, they have one writer at a time, and old versions are upcast."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from chassis.base import clock
from chassis.messaging.message import REGISTRY
from chassis.run.service import Service
from chassis.storage import store
from contracts.orders import UNKNOWN_CATEGORY, Line, OrderPlaced
from contracts.payments import PaymentRefunded
from contracts.reasons import Note
from contracts.stock import StockReserved
from services.orders import words
from services.orders.models import Event, Order, steps
from services.orders.models.events import read
from services.orders.refund import refund
from tests.orders.conftest import Deliver, confirming, fulfilling, order_id

FIRST_RELEASE = json.loads((Path(__file__).parent / "streams" / "first_release.json").read_text())
"""Streams as the first release wrote them, when lines had no category, by scenario."""


def replayed(rows: list[dict[str, Any]]) -> Order:
    order = Order.blank(UUID(rows[0]["stream"]))
    for row in rows:
        message = read(row["type"], row["data"], row["meta"])
        order.apply(message, row["version"], datetime.fromisoformat(row["occurred_at"]))
    return order


@pytest.mark.parametrize(
    ("scenario", "status", "reason"),
    [
        ("pending", "pending", None),
        ("confirmed", "confirmed", None),
        ("delivered", "delivered", None),
        ("declined", "cancelled", "insufficient_funds"),
        ("refused", "cancelled", "out_of_stock"),
        ("cancelled", "cancelled", "cancelled_by_customer"),
    ],
)
def test_streams_of_the_first_release_are_upcast(scenario: str, status: str, reason: str | None) -> None:
    order = replayed(FIRST_RELEASE[scenario])
    assert (order.status, order.reason, order.total_amount, order.version) == (
        status,
        reason,
        3685,
        len(FIRST_RELEASE[scenario]),
    )
    assert [line.category for line in order.lines] == [UNKNOWN_CATEGORY] * 2
    assert order.captured_amount == (order.total_amount if scenario == "delivered" else 0)


def test_commands_that_got_no_reply_in_the_first_release_are_open_steps() -> None:
    """Its services did not reply to a commit, release or void: each command is repeated."""
    assert list(replayed(FIRST_RELEASE["pending"]).open_steps) == ["stock.reserve"]
    assert list(replayed(FIRST_RELEASE["delivered"]).open_steps) == ["stock.commit"]
    assert sorted(replayed(FIRST_RELEASE["cancelled"]).open_steps) == ["payment.void", "stock.release"]


def test_new_events_need_no_upcaster(orders: Service, placed: dict[str, Any], deliver: Deliver) -> None:
    deliver(*confirming(order_id(placed)))
    with store.active(orders.store), orders.store.transaction():
        for event in Event.stream_of(order_id(placed)):
            assert event.meta["schema"] == REGISTRY[event.type].version
            assert event.message.data() == event.data


def test_an_event_of_a_newer_release_is_unavailable_here_for_now(
    orders: Service, placed: dict[str, Any], http: FlaskClient, customer: dict[str, str]
) -> None:
    with store.active(orders.store), orders.store.transaction():
        newer = OrderPlaced.version + 1
        Event.at(order_id(placed), 1).meta = {"schema": newer}
    response = http.get(f"/orders/{placed['id']}/events", headers=customer)
    assert (response.status_code, response.json["type"]) == (503, "/problems/unavailable")
    assert int(response.headers["Retry-After"]) > 0


def test_an_orders_row_follows_from_its_events_alone(orders: Service, placed: dict[str, Any], deliver: Deliver) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    with store.active(orders.store), orders.store.transaction():
        refund(Order.get_for_update(id_), 300, Note("A scratch."))
    requested = UUID(deliver().sent[-1].data["refund_id"])
    deliver(PaymentRefunded(id_, uuid4(), requested, 300, "EUR"))
    with store.active(orders.store), orders.store.transaction():
        row = Order.get_for_update(id_)
        rebuilt = Order.blank(id_)
        for event in Event.stream_of(id_):
            rebuilt.apply(event.message, event.version, event.occurred_at)
        columns = [column.key for column in Order.__mapper__.column_attrs]
        assert {key: getattr(rebuilt, key) for key in columns} == {key: getattr(row, key) for key in columns}


def test_of_two_writers_that_saw_the_same_version_one_fails(orders: Service, placed: dict[str, Any]) -> None:
    """Even without the lock."""
    id_ = order_id(placed)
    engine = orders.store.engine
    with Session(engine) as first, Session(engine) as second:
        for session in (first, second):
            order = session.get_one(Order, id_)
            event = Event.values(StockReserved(id_), id_, order.version + 1, clock.now(), is_sent=False)
            session.add(Event(**event))
        first.commit()
        with pytest.raises(IntegrityError, match="stream"):
            second.commit()


def test_the_timeline_has_words_for_every_event() -> None:
    of_steps = {message.type for message in (*steps.RETRY_POLICIES, *steps.REPLIES)}
    own = {"order.placed", "order.confirmed", "order.shipped", "order.delivered", "order.cancelled"}
    own |= {"order.refunded", "order.stuck", "order.resumed", "order.settled_externally", "payment.moved_externally"}
    own |= {"order.shortfall_accepted", "order.refund_returned"}
    assert set(words.WORDS) == of_steps | own


def test_a_summary_includes_the_amount() -> None:
    placed = OrderPlaced(uuid4(), uuid4(), [Line(uuid4(), "Kettle", 1, 1250)], 1250, "EUR", "tok_success")
    assert words.summary(placed, "EUR") == "Order placed for 12.50 EUR."
