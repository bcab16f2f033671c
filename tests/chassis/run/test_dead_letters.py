"""Dead letters are seen without being consumed, replayed without being lost, and counted."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging.broker import ATTEMPT_HEADER, body_of
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Publisher
from chassis.run.dead_letters import DeadLetterQueue
from tests.broker import said, taken_from
from tests.conftest import server_url


@pytest.fixture
def bury(name: str, publisher: Publisher) -> Callable[..., Envelope]:
    """Puts a message among the dead of `name`."""
    broker.declare(server_url("BROKER"), name, [f"{name}.said"])

    def do(**data: Any) -> Envelope:
        envelope = Envelope(uuid4(), "test", f"{name}.said", "x", clock.now(), data)
        headers = {broker.ERROR_HEADER: "it cannot be done", ATTEMPT_HEADER: 4}
        publisher.send_to(broker.dead_letter_queue(name), envelope.to_json(), headers)
        return envelope

    return do


@pytest.fixture
def dead(name: str) -> DeadLetterQueue:
    return DeadLetterQueue(server_url("BROKER"), broker.dead_letter_queue(name).name, name)


def test_the_dead_are_listed_oldest_first_and_stay_where_they_are(
    dead: DeadLetterQueue, bury: Callable[..., Envelope]
) -> None:
    buried = [bury(), bury()]
    for _ in range(2):
        letters = dead.letters()
        assert [letter.id for letter in letters] == [str(envelope.id) for envelope in buried]
        assert [(letter.what, letter.error) for letter in letters] == [(buried[0].type, "it cannot be done")] * 2


def test_what_is_secret_is_blanked(dead: DeadLetterQueue, bury: Callable[..., Envelope]) -> None:
    bury(payment_method="tok_4242", note={"password": "hunter2", "word": "hello"})
    shown = json.dumps(dead.letters()[0].details)
    assert "tok_4242" not in shown
    assert "hunter2" not in shown
    assert "hello" in shown


def test_a_letter_that_is_looked_at_often_is_not_worn_out(dead: DeadLetterQueue, bury: Callable[..., Envelope]) -> None:
    envelope = bury()
    for _ in range(25):
        [letter] = dead.letters()
        assert letter.id == str(envelope.id)
        # A quorum queue of RabbitMQ 4 drops what comes back for the 21st time.
        assert int(letter.details["headers"].get("x-delivery-count", 0)) < 20
        assert letter.error == "it cannot be done"


def test_a_dry_run_tells_and_moves_nothing(dead: DeadLetterQueue, bury: Callable[..., Envelope], name: str) -> None:
    bury()
    [told] = dead.replay(None, dry_run=True)
    assert told.details == {"to": name, "replayed": False}
    assert len(dead.letters()) == 1


def test_one_is_replayed_as_if_it_never_failed_and_the_others_stay(
    dead: DeadLetterQueue, bury: Callable[..., Envelope], name: str
) -> None:
    one, other = bury(), bury()
    [told] = dead.replay([str(one.id)], dry_run=False)
    assert told.details == {"to": name, "replayed": True}
    message = taken_from(name, one)
    assert message.headers[ATTEMPT_HEADER] == 0
    assert broker.ERROR_HEADER not in message.headers
    assert Envelope.from_json(body_of(message)) == one
    assert [letter.id for letter in dead.letters()] == [str(other.id)]


def test_all_are_replayed_in_their_order(dead: DeadLetterQueue, bury: Callable[..., Envelope]) -> None:
    buried = [bury() for _ in range(3)]
    assert [letter.id for letter in dead.replay(None, dry_run=False)] == [str(envelope.id) for envelope in buried]
    assert dead.letters() == []


def test_what_nobody_hears_is_listed_and_returns_when_it_is_replayed_too_early(publisher: Publisher, name: str) -> None:
    unrouted = DeadLetterQueue(server_url("BROKER"), broker.UNROUTED, None)
    envelope = said(name)
    publisher.publish(envelope)
    [told] = unrouted.replay([str(envelope.id)], dry_run=False)
    assert told.details["to"] == f"souk: {name}.said"
    [letter] = [letter for letter in unrouted.letters() if letter.id == str(envelope.id)]
    assert letter.error == "No queue is bound for it."
    broker.declare(server_url("BROKER"), name, [f"{name}.said"])
    unrouted.replay([str(envelope.id)], dry_run=False)
    assert taken_from(name, envelope)


def test_a_place_that_is_not_there_holds_nothing() -> None:
    assert DeadLetterQueue(server_url("BROKER"), f"test-{uuid4().hex}.dead", "test").letters() == []
