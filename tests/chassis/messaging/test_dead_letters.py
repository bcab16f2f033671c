"""Dead letters are seen without being consumed, replayed without being lost, and counted."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import pytest
from kombu import Queue

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging.broker import ATTEMPT_HEADER, body_of
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Publisher
from tests.broker import an_envelope, taken_from
from tests.conftest import server_url
from tests.installation import until


@pytest.fixture
def add(name: str, publisher: Publisher) -> Callable[..., Envelope]:
    """Puts a message into the dead-letter queue of `name`."""
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])

    def do(**data: Any) -> Envelope:
        envelope = Envelope(uuid4(), "test", f"{name}.greeted", "x", clock.now(), data)
        headers = {broker.ERROR_HEADER: "it cannot be done", ATTEMPT_HEADER: 4}
        publisher.send_to(broker.dead_letter_queue(name), envelope.to_json(), headers)
        return envelope

    return do


@pytest.fixture
def queue(name: str) -> DeadLetterQueue:
    return DeadLetterQueue(server_url("BROKER"), broker.dead_letter_queue(name).name, name)


def test_letters_are_listed_oldest_first_and_stay_in_the_queue(
    queue: DeadLetterQueue, add: Callable[..., Envelope]
) -> None:
    added = [add(), add()]
    for _ in range(2):
        letters = queue.letters()
        assert [letter.id for letter in letters] == [str(envelope.id) for envelope in added]
        assert [(letter.type, letter.error) for letter in letters] == [(added[0].type, "it cannot be done")] * 2


def test_secrets_are_blanked(queue: DeadLetterQueue, add: Callable[..., Envelope]) -> None:
    add(payment_method="tok_4242", note={"password": "hunter2", "text": "hello"})
    shown = json.dumps(queue.letters()[0].details)
    assert "tok_4242" not in shown
    assert "hunter2" not in shown
    assert "hello" in shown


@pytest.mark.parametrize("depth", [400, 900, 100_000])
def test_a_letter_nested_too_deeply_is_listed_with_the_others(
    queue: DeadLetterQueue, add: Callable[..., Envelope], publisher: Publisher, name: str, depth: int
) -> None:
    publisher.send_to(broker.dead_letter_queue(name), b"[" * depth + b"]" * depth, {})
    envelope = add()
    deep, letter = queue.letters()
    assert letter.id == str(envelope.id)
    assert len(json.dumps(asdict(deep))) < 2_000
    assert [replayed.id for replayed in queue.replay([deep.id], dry_run=False)] == [deep.id]


def test_a_letter_that_is_listed_often_is_not_dropped(queue: DeadLetterQueue, add: Callable[..., Envelope]) -> None:
    envelope = add()
    for _ in range(25):
        [letter] = queue.letters()
        assert letter.id == str(envelope.id)
        # A quorum queue of RabbitMQ 4 drops it at its 21st return.
        assert int(letter.details["headers"].get("x-delivery-count", 0)) < 20
        assert letter.error == "it cannot be done"


def test_a_message_that_crashes_the_worker_again_and_again_is_put_aside(
    queue: DeadLetterQueue, publisher: Publisher, name: str
) -> None:
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    envelope = an_envelope(name)
    publisher.publish(envelope)
    with broker.connect(server_url("BROKER")) as connection:
        waiting = Queue(name)(connection.default_channel)

        def is_put_aside() -> bool:
            if (message := waiting.get()) is not None:
                message.requeue()
            return queue.count() == 1

        until(is_put_aside)
    [letter] = queue.letters()
    assert (letter.id, letter.error) == (str(envelope.id), "It crashed the worker each time it was handled.")


def test_a_dry_run_reports_and_moves_nothing(queue: DeadLetterQueue, add: Callable[..., Envelope], name: str) -> None:
    add()
    [replayed] = queue.replay(None, dry_run=True)
    assert replayed.details == {"to": name, "replayed": False}
    assert len(queue.letters()) == 1


def test_one_letter_is_replayed_as_if_new_and_the_others_stay(
    queue: DeadLetterQueue, add: Callable[..., Envelope], name: str
) -> None:
    one, other = add(), add()
    [replayed] = queue.replay([str(one.id)], dry_run=False)
    assert replayed.details == {"to": name, "replayed": True}
    message = taken_from(name, one)
    assert message.headers[ATTEMPT_HEADER] == 0
    assert broker.ERROR_HEADER not in message.headers
    assert Envelope.from_json(body_of(message)) == one
    assert [letter.id for letter in queue.letters()] == [str(other.id)]


def test_all_letters_are_replayed_in_order(queue: DeadLetterQueue, add: Callable[..., Envelope]) -> None:
    added = [add() for _ in range(3)]
    assert [letter.id for letter in queue.replay(None, dry_run=False)] == [str(envelope.id) for envelope in added]
    assert queue.letters() == []


def test_a_letter_with_a_priority_as_celery_gives_is_replayed(queue: DeadLetterQueue, name: str) -> None:
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    envelope = an_envelope(name)
    with broker.connect(server_url("BROKER")) as connection:
        dead = broker.dead_letter_queue(name).name
        connection.Producer().publish(envelope.to_json(), routing_key=dead, priority=3)
    [replayed] = queue.replay([str(envelope.id)], dry_run=False)
    assert replayed.details == {"to": name, "replayed": True}
    assert taken_from(name, envelope).properties["priority"] == 3


def test_an_unrouted_message_is_listed_and_returns_while_no_queue_is_bound_for_it(
    publisher: Publisher, name: str
) -> None:
    unrouted = DeadLetterQueue(server_url("BROKER"), broker.UNROUTED, None)
    envelope = an_envelope(name)
    publisher.publish(envelope)
    [replayed] = unrouted.replay([str(envelope.id)], dry_run=False)
    assert replayed.details["to"] == f"souk: {name}.greeted"
    [letter] = [letter for letter in unrouted.letters() if letter.id == str(envelope.id)]
    assert letter.error == "No queue is bound for it."
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    unrouted.replay([str(envelope.id)], dry_run=False)
    assert taken_from(name, envelope)


def test_a_queue_that_does_not_exist_holds_nothing() -> None:
    assert DeadLetterQueue(server_url("BROKER"), f"test-{uuid4().hex}.dead", "test").letters() == []


def test_only_as_many_letters_are_read_as_are_wanted(queue: DeadLetterQueue, add: Callable[..., Envelope]) -> None:
    added = [str(add().id) for _ in range(5)]
    for _ in range(3):
        assert [letter.id for letter in queue.letters(2)] == added[:2]
    assert queue.count() == 5
    counts = [int(letter.details["headers"].get("x-delivery-count", 0)) for letter in queue.letters()]
    assert [bool(count) for count in counts] == [True, True, False, False, False]


def test_a_queue_that_does_not_exist_has_no_letters(name: str) -> None:
    missing = DeadLetterQueue(server_url("BROKER"), f"{name}.missing", name)
    assert (missing.count(), missing.letters(2)) == (0, [])
