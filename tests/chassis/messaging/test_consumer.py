"""What a consumer does beside handling: declare and count now and then, wait for its broker, stop."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue as Mailbox

import pytest
from prometheus_client import REGISTRY

from chassis.base import failpoints
from chassis.messaging import broker
from chassis.messaging import consumer as consuming
from chassis.messaging.consumer import Consumer, DeadLetter, Delivery, Handle, Hold, Verdict
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import Outgoing, Publisher
from tests.broker import DEADLINE_SECONDS, an_envelope
from tests.conftest import server_url
from tests.installation import until
from tests.wire import Wire

ROUNDS = 5


class Watched(Consumer):
    """Tells how often it declared its queue again, and when it has missed its broker."""

    def __init__(self, name: str, handle: Handle, url: str = "") -> None:
        super().__init__(url or server_url("BROKER"), name, [f"{name}.greeted"], handle)
        self.declared, self.missed = 0, threading.Semaphore(0)

    def _declare_again(self) -> None:
        self.declared += 1
        super()._declare_again()

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        super().on_connection_error(exc, interval)
        self.missed.release()


@pytest.fixture
def queue(name: str) -> str:
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    return name


def test_a_consumer_declares_its_queue_again_only_once_in_a_while(
    queue: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "DECLARE_SECONDS", 3_600)
    rounds = 0

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            consumer._declare_at = 0.0
        consumer.should_stop = rounds == ROUNDS
        publisher.publish(an_envelope(queue))
        return [None] * len(deliveries)

    consumer = Watched(queue, handle)
    publisher.publish(an_envelope(queue))
    consumer.run()
    assert consumer.declared == 1


def test_a_consumer_counts_dead_letters_only_once_in_a_while(
    queue: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "COUNT_DEAD_LETTERS_SECONDS", 3_600)
    rounds = 0

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        nonlocal rounds
        rounds += 1
        consumer.should_stop = rounds == ROUNDS
        publisher.publish(an_envelope(queue))
        return [DeadLetter("it cannot be done")] * len(deliveries)

    consumer = Watched(queue, handle)
    publisher.publish(an_envelope(queue))
    consumer.run()
    assert REGISTRY.get_sample_value("souk_dead_letters", {"queue": broker.dead_letter_queue(queue).name}) == 0


def test_messages_that_are_held_together_stay_in_their_queue(
    queue: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "GATHER_SECONDS", DEADLINE_SECONDS)
    list(publisher.send_all([Outgoing.of(an_envelope(queue)) for _ in range(consuming.PREFETCH)]))

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        consumer.should_stop = True
        return [Hold(3_600)] * len(deliveries)

    consumer = Watched(queue, handle)
    consumer.run()
    with broker.connect(server_url("BROKER")) as connection:
        until(lambda: broker.depth(connection.default_channel, queue) == consuming.PREFETCH)


def test_each_message_passes_a_failpoint_before_and_after_it_is_handled(
    queue: str, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "GATHER_SECONDS", DEADLINE_SECONDS)
    list(publisher.send_all([Outgoing.of(an_envelope(queue)) for _ in range(consuming.PREFETCH)]))
    monkeypatch.setattr(failpoints, "_directory", tmp_path)
    (tmp_path / failpoints.RECORDING).touch()
    passed = tmp_path / failpoints.PASSED

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        consumer.should_stop = True
        passed.open("a").write(": handled\n")
        return [None] * len(deliveries)

    consumer = Watched(queue, handle)
    consumer.run()
    steps = [line.rpartition(": ")[2].partition(" ")[0] for line in passed.read_text().splitlines()]
    each = consuming.PREFETCH
    assert steps == ["receive"] * each + ["handled"] + ["acknowledge"] * each + ["acknowledged"] * each


@pytest.fixture
def wire() -> Iterator[tuple[Wire, str]]:
    """A cut connection to the broker, and the URL through it."""
    wire, url = Wire.to(server_url("BROKER"))
    wire.cut()
    yield wire, url
    wire.close()


def test_a_consumer_waits_for_its_broker(queue: str, publisher: Publisher, wire: tuple[Wire, str]) -> None:
    arrived: Mailbox[bytes] = Mailbox()

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        consumer.should_stop = True
        arrived.put(deliveries[0].body)
        return [None]

    cut, url = wire
    consumer = Watched(queue, handle, url)
    envelope = an_envelope(queue)
    publisher.publish(envelope)
    thread = threading.Thread(target=consumer.run, daemon=True)
    thread.start()
    assert consumer.missed.acquire(timeout=DEADLINE_SECONDS)
    assert not consumer.is_ready
    cut.mend()
    assert Envelope.from_json(arrived.get(timeout=DEADLINE_SECONDS)) == envelope
    thread.join(DEADLINE_SECONDS)


def test_a_consumer_stops_while_it_waits_for_its_broker(queue: str, wire: tuple[Wire, str]) -> None:
    consumer = Watched(queue, lambda _: [], wire[1])
    thread = threading.Thread(target=consumer.run, daemon=True)
    thread.start()
    assert consumer.missed.acquire(timeout=DEADLINE_SECONDS)
    consumer.should_stop = True
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
