"""Which messages leave again, after a queue was lost or stock was restored."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, insert, select

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.run import worker
from chassis.run.resend import MAX_AGE, renew, resend, send_to
from chassis.storage.inbox import inbox
from contracts.reasons import Reason
from contracts.stock import ReserveStock, StockRefused
from services.orders.models import Event
from tests.conftest import server_url

NOW = clock.now()
RESERVE = [ReserveStock.type]


@pytest.fixture
def orders_of_old(orders):
    """An order whose stock was refused, and two whose stock was not asked for at the same time."""
    refused, other, older = uuid4(), uuid4(), uuid4()

    def written(order: UUID, version: int, message: Message, sent_at: datetime) -> dict[str, object]:
        return Event.values(message, order, version, sent_at - timedelta(seconds=1), is_sent=True) | {
            "sent_at": sent_at
        }

    rows = [
        written(refused, 1, ReserveStock(refused, {uuid4(): 1}), NOW),
        written(refused, 2, StockRefused(refused, uuid4(), Reason.OUT_OF_STOCK), NOW),
        written(other, 1, ReserveStock(other, {uuid4(): 1}), NOW),
        written(older, 1, ReserveStock(older, {uuid4(): 1}), NOW - timedelta(hours=3)),
    ]
    with orders.store.engine.begin() as connection:
        connection.execute(insert(Event), rows)
    return refused, other, older


def unsent(orders) -> set[UUID]:
    with orders.store.engine.connect() as connection:
        return set(connection.scalars(select(Event.stream).where(Event.sent_at.is_(None))))


def test_all_of_a_type_that_receivers_still_remember(orders, orders_of_old):
    assert resend(orders, RESERVE) == 3
    assert unsent(orders) == {*orders_of_old}


def test_only_since_a_moment(orders, orders_of_old):
    refused, other, _ = orders_of_old
    assert resend(orders, RESERVE, since=NOW - timedelta(hours=1)) == 2
    assert unsent(orders) == {refused, other}


def test_not_those_of_orders_with_an_event(orders, orders_of_old):
    _, other, older = orders_of_old
    assert resend(orders, RESERVE, unless=StockRefused.type) == 2
    assert unsent(orders) == {other, older}


def test_what_inboxes_may_not_remember_goes_to_one_receiver_past_the_others(orders, orders_of_old):
    *_, older = orders_of_old
    receiver, other = (f"{name}{uuid4().hex[:8]}" for name in ("receiver", "other"))
    for name in (receiver, other):
        broker.declare(server_url("BROKER"), name, RESERVE)
    assert send_to(receiver, orders, RESERVE, NOW - MAX_AGE, NOW - timedelta(hours=1)) == 1
    with broker.connect(server_url("BROKER")) as connection:
        channel = connection.default_channel
        arrived = broker.service_queue(receiver, [])(channel).get(no_ack=True)
        assert Envelope.from_json(broker.body_of(arrived)).subject == str(older)
        assert [broker.depth(channel, name) for name in (receiver, other)] == [0, 0]
    assert unsent(orders) == set()


def test_after_a_restore_what_was_handled_is_remembered_as_long_as_what_is_sent_again(orders):
    long_ago = clock.now() - worker.RETENTION - timedelta(days=1)
    with orders.store.engine.begin() as connection:
        connection.execute(insert(inbox).values(message_id=uuid4(), received_at=long_ago))
    renew(orders)
    with orders.store.transaction():
        worker.purge(orders)
    with orders.store.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(inbox)) == 1
