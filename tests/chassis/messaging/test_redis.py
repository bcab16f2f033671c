"""Where Redis carries the messages: they arrive, are retried later, become dead letters, and outlive their consumer."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from queue import Queue as Mailbox
from typing import Any

import pytest
from kombu.transport.redis import Channel

from chassis.messaging import broker
from chassis.messaging import consumer as consuming
from chassis.messaging.consumer import Consumer, DeadLetter, Delivery, Handle, Hold, Retry, Verdict
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Outgoing, Publisher
from tests.broker import DEADLINE_SECONDS, an_envelope
from tests.installation import until
from tests.redis import Breakable, breakable

NAME = "letters"
TYPES = [f"{NAME}.greeted"]
UNACKNOWLEDGED = f"{broker.KEY_PREFIX}unacked_index"
"""When each delivery tag was delivered."""

Start = Callable[[Handle], Consumer]


@pytest.fixture
def redis(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Breakable]:
    # By default it looks for lost deliveries in each tenth idle second.
    monkeypatch.setattr(Channel, "unacked_restore_throttle", 1)
    with breakable(tmp_path) as server:
        yield server


@pytest.fixture
def publisher(redis: Breakable) -> Iterator[Publisher]:
    broker.declare(redis.url, NAME, TYPES)
    with closing(Publisher(redis.url, NAME)) as opened:
        yield opened


@pytest.fixture
def consume(redis: Breakable) -> Iterator[Start]:
    """Runs a consumer in a thread until the test ends."""
    running: list[tuple[Consumer, threading.Thread]] = []

    def start(handle: Handle) -> Consumer:
        consumer = Consumer(redis.url, NAME, TYPES, handle)
        thread = threading.Thread(target=consumer.run, daemon=True)
        thread.start()
        assert consumer.wait_ready(DEADLINE_SECONDS)
        running.append((consumer, thread))
        return consumer

    yield start
    for consumer, thread in running:
        consumer.should_stop = True
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


def pass_visibility(redis: Breakable) -> None:
    """As if all that is not acknowledged had been delivered so long ago."""
    tags: Any = redis.client.zrange(UNACKNOWLEDGED, 0, -1)
    for tag in tags:
        redis.client.zadd(UNACKNOWLEDGED, {tag: time.time() - broker.VISIBILITY_SECONDS - 1})


def delivered_at(redis: Breakable) -> list[float]:
    scores: Any = redis.client.zrange(UNACKNOWLEDGED, 0, -1, withscores=True)
    return [at for _, at in scores]


def keeping(arrived: Mailbox[bytes]) -> Handle:
    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        for each in deliveries:
            arrived.put(each.body)
        return [None] * len(deliveries)

    return handle


def test_a_published_message_arrives_unchanged_and_once(redis: Breakable, publisher: Publisher, consume: Start) -> None:
    arrived: Mailbox[bytes] = Mailbox()
    consume(keeping(arrived))
    envelope = an_envelope(NAME)
    publisher.publish(envelope)
    assert Envelope.from_json(arrived.get(timeout=DEADLINE_SECONDS)) == envelope
    until(lambda: not delivered_at(redis))


def test_messages_handled_together_are_all_acknowledged(
    redis: Breakable, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "GATHER_SECONDS", DEADLINE_SECONDS)
    list(publisher.send_all([Outgoing.of(an_envelope(NAME)) for _ in range(consuming.PREFETCH)]))
    sizes: list[int] = []

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        sizes.append(len(deliveries))
        consumer.should_stop = True
        return [None] * len(deliveries)

    consumer = Consumer(redis.url, NAME, TYPES, handle)
    consumer.run()
    assert sizes == [consuming.PREFETCH]
    with broker.connect(redis.url) as connection:
        assert broker.service_queue(NAME, TYPES)(connection.default_channel).get() is None
    assert delivered_at(redis) == []


def test_a_failed_message_is_retried_after_each_delay_and_counts_its_attempts(
    publisher: Publisher, consume: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "DELAYS_MILLISECONDS", (100, 1_500))
    attempts: Mailbox[tuple[int, float]] = Mailbox()

    def fail_twice(deliveries: Sequence[Delivery]) -> list[Verdict]:
        attempt = int(deliveries[0].headers.get(broker.ATTEMPT_HEADER, 0))
        attempts.put((attempt, time.monotonic()))
        return [Retry(attempt) if attempt < 2 else None]

    consume(fail_twice)
    publisher.publish(an_envelope(NAME))
    (first, at), (second, again), (third, at_last) = (attempts.get(timeout=DEADLINE_SECONDS) for _ in range(3))
    assert (first, second, third) == (0, 1, 2)
    assert again - at >= 0.1
    assert at_last - again >= 1.5


def test_a_message_given_up_is_listed_as_a_dead_letter_and_replayed(
    redis: Breakable, publisher: Publisher, consume: Start
) -> None:
    verdicts: list[Verdict] = [DeadLetter("it cannot be done"), None]
    arrived: list[Delivery] = []

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        arrived.extend(deliveries)
        return [verdicts.pop(0)]

    letters = DeadLetterQueue(redis.url, broker.dead_letter_queue(NAME).name, NAME)
    assert (letters.count(), letters.letters()) == (0, [])
    consume(handle)
    envelope = an_envelope(NAME)
    publisher.publish(envelope)
    until(lambda: letters.count() == 1)
    [letter] = letters.letters()
    assert (letter.id, letter.error) == (str(envelope.id), "it cannot be done")
    [replayed] = letters.replay(None, dry_run=False)
    assert replayed.details == {"to": NAME, "replayed": True}
    until(lambda: len(arrived) == 2)
    assert Envelope.from_json(arrived[1].body) == envelope
    assert (letters.count(), letters.letters()) == (0, [])


def die_handling(url: str) -> None:
    Consumer(url, NAME, TYPES, lambda _: os.kill(os.getpid(), signal.SIGKILL)).run()


def test_a_message_of_a_killed_consumer_is_delivered_again_later(
    redis: Breakable, publisher: Publisher, consume: Start
) -> None:
    envelope = an_envelope(NAME)
    publisher.publish(envelope)
    # It imports all this anew.
    killed = multiprocessing.get_context("spawn").Process(target=die_handling, args=[redis.url], daemon=True)
    killed.start()
    killed.join(300)
    assert killed.exitcode == -signal.SIGKILL
    arrived: Mailbox[bytes] = Mailbox()
    consume(keeping(arrived))
    pass_visibility(redis)
    assert Envelope.from_json(arrived.get(timeout=DEADLINE_SECONDS)) == envelope


@pytest.mark.parametrize("verdict", [Retry(0), Hold(3_600)])
def test_a_message_that_waits_is_not_taken_for_lost(
    redis: Breakable, publisher: Publisher, consume: Start, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    monkeypatch.setattr(consuming, "DELAYS_MILLISECONDS", (3_600_000,))
    monkeypatch.setattr(consuming, "DECLARE_SECONDS", 0.1)
    verdicts: Mailbox[Verdict] = Mailbox()
    verdicts.put(verdict)
    consume(lambda deliveries: [verdicts.get_nowait()])
    publisher.publish(an_envelope(NAME))
    until(verdicts.empty)
    [delivered] = until(lambda: delivered_at(redis))
    until(lambda: delivered_at(redis)[0] > delivered)


def test_waiting_messages_outlive_the_connection_and_hinder_no_other(
    redis: Breakable, publisher: Publisher, consume: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "PREFETCH", 3)
    handled: list[bytes] = []
    may_end = threading.Event()

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        handled.extend(each.body for each in deliveries)
        return [None if may_end.is_set() else Hold(0.1)] * len(deliveries)

    consumer = consume(handle)
    list(publisher.send_all([Outgoing.of(an_envelope(NAME)) for _ in range(2)]))
    until(lambda: len(set(handled)) == 2)
    before = consumer._established
    consuming.PREFETCH = 2
    redis.client.client_kill_filter(_type="normal", skipme=True)
    until(lambda: consumer._established is not before)
    may_end.set()
    pass_visibility(redis)
    with closing(Publisher(redis.url, NAME)) as another:
        another.publish(an_envelope(NAME))
    until(lambda: len(set(handled)) == 3)
    until(lambda: not delivered_at(redis))
