"""On a real RabbitMQ: what is published arrives, is retried later, becomes a dead letter, and is never dropped."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from queue import Empty
from queue import Queue as Mailbox
from typing import Any
from uuid import uuid4

import pytest
from amqp.exceptions import PreconditionFailed
from prometheus_client import REGISTRY

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging import consumer as consuming
from chassis.messaging import publisher as publishing
from chassis.messaging.consumer import Consumer, DeadLetter, Delivery, Handle, Hold, Retry, Verdict
from chassis.messaging.envelope import Envelope
from chassis.messaging.publisher import PROBE, Outgoing, Publisher, points_of
from tests.broker import DEADLINE_SECONDS, an_envelope, taken_from
from tests.conftest import server_url
from tests.installation import until
from tests.wire import Wire

Start = Callable[[Callable[[bytes, dict[str, Any]], Verdict]], Consumer]


def one_by_one(handle: Callable[[bytes, dict[str, Any]], Verdict]) -> Handle:
    return lambda deliveries: [handle(each.body, each.headers) for each in deliveries]


@pytest.fixture
def consume(name: str) -> Iterator[Start]:
    """Runs a consumer of `name` in a thread until the test ends."""
    running: list[tuple[Consumer, threading.Thread]] = []

    def start(handle: Callable[[bytes, dict[str, Any]], Verdict]) -> Consumer:
        consumer = Consumer(server_url("BROKER"), name, [f"{name}.greeted"], one_by_one(handle))
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


def test_a_published_message_arrives_unchanged(name: str, publisher: Publisher, consume: Start) -> None:
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    envelope = an_envelope(name)
    publisher.publish(envelope)
    assert Envelope.from_json(arrived.get(timeout=DEADLINE_SECONDS)) == envelope


def test_a_published_message_survives_a_restart_of_the_broker(name: str, publisher: Publisher) -> None:
    """A restart takes a minute: it keeps persistent messages in durable queues."""
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    queue = broker.service_queue(name, []).name
    envelope = an_envelope(name)
    publisher.publish(envelope)
    assert taken_from(queue, envelope).properties["delivery_mode"] == 2
    with broker.connect(server_url("BROKER")) as connection, pytest.raises(PreconditionFailed, match="durable"):
        connection.default_channel.queue_declare(queue, durable=False)
    for exchange in (broker.EXCHANGE, broker.own_exchange(name)):
        with broker.connect(server_url("BROKER")) as connection, pytest.raises(PreconditionFailed, match="durable"):
            connection.default_channel.exchange_declare(exchange.name, exchange.type, durable=False, auto_delete=False)


def test_dead_letters_are_counted_again_and_again(
    name: str, publisher: Publisher, consume: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "COUNT_DEAD_LETTERS_SECONDS", 1.1)
    consume(lambda body, headers: DeadLetter("it cannot be done"))
    for count in (1, 2):
        publisher.publish(an_envelope(name))
        queue = {"queue": broker.dead_letter_queue(name).name}
        until(lambda: REGISTRY.get_sample_value("souk_dead_letters", queue) == count)  # noqa: B023 - called at once


def test_a_failed_message_returns_after_a_delay_and_counts_its_attempts(
    name: str, publisher: Publisher, consume: Start
) -> None:
    attempts: Mailbox[tuple[int, float]] = Mailbox()

    def fail_once(body: bytes, headers: dict[str, Any]) -> Verdict:
        attempt = int(headers.get(broker.ATTEMPT_HEADER, 0))
        attempts.put((attempt, time.monotonic()))
        return Retry(attempt) if attempt == 0 else None

    consume(fail_once)
    publisher.publish(an_envelope(name))
    (first, failed_at), (second, returned_at) = (attempts.get(timeout=DEADLINE_SECONDS) for _ in range(2))
    assert (first, second) == (0, 1)
    assert returned_at - failed_at >= broker.DELAYS_MILLISECONDS[0] / 1000


def test_a_message_that_waits_for_its_retry_outlives_a_crash_of_the_broker(name: str) -> None:
    """It leaves its queue only once the next one has it. Declaring the queue otherwise than it is would be refused."""
    with broker.connect(server_url("BROKER")) as connection:
        channel = connection.default_channel
        queue = broker.delay_queue(name, 500)
        queue(channel).declare()
        arguments = {
            "x-queue-type": "quorum",
            "x-message-ttl": 500,
            "x-dead-letter-exchange": name,
            "x-dead-letter-routing-key": name,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
        channel.queue_declare(queue.name, durable=True, auto_delete=False, arguments=arguments)


def test_a_held_message_is_handled_again_without_a_copy(name: str, publisher: Publisher, consume: Start) -> None:
    arrived: list[tuple[dict[str, Any], float]] = []

    def hold_once(body: bytes, headers: dict[str, Any]) -> Verdict:
        arrived.append((headers, time.monotonic()))
        return Hold(1.5) if len(arrived) == 1 else None

    consume(hold_once)
    publisher.publish(an_envelope(name))
    until(lambda: len(arrived) == 2)
    (_, held_at), (headers, returned_at) = arrived
    assert broker.ATTEMPT_HEADER not in headers
    assert returned_at - held_at >= 1.5


def test_a_message_given_up_becomes_a_dead_letter_with_the_reason(
    name: str, publisher: Publisher, consume: Start
) -> None:
    # A header longer than the broker's frame would end the connection.
    consume(lambda body, headers: DeadLetter("it cannot be done " * 10_000))
    envelope, began_at = an_envelope(name), clock.now()
    publisher.publish(envelope)
    letter = taken_from(broker.dead_letter_queue(name).name, envelope)
    assert letter.headers["x-souk-error"].startswith("it cannot be done")
    assert datetime.fromisoformat(letter.headers["x-souk-died-at"]) >= began_at


def test_a_message_that_no_queue_is_bound_for_is_kept(name: str, publisher: Publisher, consume: Start) -> None:
    consume(lambda body, headers: None)
    envelope = Envelope(uuid4(), "test", f"{name}.unbound", "x", clock.now(), {})
    publisher.publish(envelope)
    assert taken_from(broker.UNROUTED, envelope)


def test_a_message_of_a_lost_consumer_is_delivered_again(name: str, publisher: Publisher) -> None:
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    envelope = an_envelope(name)
    publisher.publish(envelope)
    for _ in range(2):
        with broker.connect(server_url("BROKER")) as connection:
            seen: list[Any] = []
            queue = broker.service_queue(name, [f"{name}.greeted"])
            with connection.Consumer([queue], on_message=seen.append, auto_declare=False):
                connection.drain_events(timeout=DEADLINE_SECONDS)
            assert str(envelope.id) in str(seen[0].body)


def test_the_first_publisher_on_a_new_broker_loses_nothing(publisher: Publisher) -> None:
    with broker.connect(server_url("BROKER")) as connection:
        channel = connection.default_channel
        channel.exchange_delete(broker.EXCHANGE.name)
        channel.queue_delete(broker.UNROUTED)
        channel.exchange_delete(broker.UNROUTED)
    envelope = an_envelope("unbound")
    publisher.publish(envelope)
    assert taken_from(broker.UNROUTED, envelope)


def test_a_publisher_survives_the_loss_of_its_connection(name: str, publisher: Publisher, consume: Start) -> None:
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    publisher.publish(an_envelope(name))
    arrived.get(timeout=DEADLINE_SECONDS)
    publisher._connection.connection.transport.sock.close()
    with pytest.raises(ConnectionError, match="did not confirm"):
        publisher.publish(an_envelope(name))
    again = an_envelope(name)
    publisher.publish(again)
    assert Envelope.from_json(arrived.get(timeout=DEADLINE_SECONDS)) == again


def delete_exchange() -> None:
    with broker.connect(server_url("BROKER")) as connection:
        connection.default_channel.exchange_delete(broker.EXCHANGE.name)


@pytest.fixture
def declaring_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consuming, "DECLARE_SECONDS", 0.2)


@pytest.mark.usefixtures("declaring_often")
def test_a_consumer_binds_its_queue_again_after_the_exchange_was_deleted(
    name: str, publisher: Publisher, consume: Start
) -> None:
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    delete_exchange()
    until_it_arrives(name, publisher, arrived)


@pytest.mark.usefixtures("declaring_often")
def test_a_consumer_binds_its_queue_again_after_the_binding_was_deleted(
    name: str, publisher: Publisher, consume: Start
) -> None:
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    with broker.connect(server_url("BROKER")) as connection:
        connection.default_channel.queue_unbind(name, broker.EXCHANGE.name, f"{name}.greeted")
    until_it_arrives(name, publisher, arrived)


@pytest.mark.usefixtures("declaring_often")
def test_a_consumer_makes_its_queue_again_after_it_was_deleted(name: str, publisher: Publisher, consume: Start) -> None:
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    with broker.connect(server_url("BROKER")) as connection:
        connection.default_channel.queue_delete(name)
    until_it_arrives(name, publisher, arrived)


@pytest.mark.usefixtures("declaring_often")
def test_a_consumer_that_cannot_bind_its_queue_is_not_ready(consume: Start, name: str) -> None:
    consumer = consume(lambda body, headers: None)
    with broker.connect(server_url("BROKER")) as connection:
        channel = connection.default_channel
        channel.exchange_delete(broker.EXCHANGE.name)
        channel.exchange_declare(broker.EXCHANGE.name, "fanout", durable=True, auto_delete=False)
        try:
            until(lambda: not consumer.is_ready)
        finally:
            channel.exchange_delete(broker.EXCHANGE.name)
    until(lambda: consumer.is_ready)


def test_a_consumer_whose_handler_hangs_is_not_ready(
    name: str, publisher: Publisher, consume: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than an idle consumer takes for a round.
    monkeypatch.setattr(consuming, "MAX_HANDLING_SECONDS", 3)
    begun, ended = threading.Event(), threading.Event()

    def hang(body: bytes, headers: dict[str, Any]) -> Verdict:
        begun.set()
        ended.wait(DEADLINE_SECONDS)
        return None

    consumer = consume(hang)
    until(lambda: consumer.is_ready)
    publisher.publish(an_envelope(name))
    assert begun.wait(DEADLINE_SECONDS)
    until(lambda: not consumer.is_ready)
    ended.set()
    until(lambda: consumer.is_ready)


def until_it_arrives(name: str, publisher: Publisher, arrived: Mailbox[bytes]) -> None:
    """Publish until a message arrives; what no queue was bound for is kept elsewhere."""

    def arrives() -> bool:
        publisher.publish(an_envelope(name))
        try:
            return bool(arrived.get(timeout=0.2))
        except Empty:
            return False

    until(arrives)


def test_a_publisher_fails_when_the_broker_does_not_confirm_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "CONFIRM_TIMEOUT_SECONDS", 1)
    wire, url = Wire.to(server_url("BROKER"))
    publisher = Publisher(url)
    try:
        publisher.publish(an_envelope("unbound"))
        wire.freeze_responses()
        with pytest.raises(ConnectionError, match="did not confirm"):
            publisher.publish(an_envelope("unbound"))
    finally:
        wire.thaw()
        wire.close()


class Dies(SystemExit):
    """Ends the consumer as the end of its process does."""


def test_a_message_is_delivered_again_when_the_consumer_dies_while_it_handles_it(
    name: str, publisher: Publisher, consume: Start
) -> None:
    def die(body: bytes, headers: dict[str, Any]) -> Verdict:
        raise Dies

    envelope = an_envelope(name)
    run_to_its_death(Consumer(server_url("BROKER"), name, [f"{name}.greeted"], one_by_one(die)), publisher, envelope)
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    assert Envelope.from_json(arrived.get(timeout=DEADLINE_SECONDS)) == envelope


@pytest.mark.parametrize("verdict", [Retry(0), DeadLetter("it cannot be done")])
def test_a_message_is_delivered_again_when_the_consumer_dies_before_its_copy_is_stored(
    name: str, publisher: Publisher, consume: Start, verdict: Verdict
) -> None:
    class DiesPublishing(Publisher):
        def send_to(self, *_: Any) -> None:
            raise Dies

    consumer = Consumer(server_url("BROKER"), name, [f"{name}.greeted"], lambda _: [verdict])
    consumer.publisher = DiesPublishing(server_url("BROKER"))
    envelope = an_envelope(name)
    run_to_its_death(consumer, publisher, envelope)
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    assert Envelope.from_json(arrived.get(timeout=DEADLINE_SECONDS)) == envelope


def run_to_its_death(consumer: Consumer, publisher: Publisher, envelope: Envelope) -> None:
    """Run the consumer until the message kills it; its connection closes without an acknowledgement."""
    broker.declare(server_url("BROKER"), consumer.service, consumer.types)
    publisher.publish(envelope)
    with pytest.raises(Dies):
        consumer.run()


def test_a_message_that_a_full_queue_rejects_is_not_confirmed(name: str, publisher: Publisher) -> None:
    with broker.connect(server_url("BROKER")) as connection:
        channel = connection.default_channel
        broker.declare_exchange(channel, True)
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        channel.queue_declare(name, durable=True, auto_delete=False, arguments=full)
        channel.queue_bind(name, broker.EXCHANGE.name, f"{name}.greeted")
        try:
            with pytest.raises(ConnectionError, match="did not confirm"):
                publisher.publish(an_envelope(name))
        finally:
            channel.queue_delete(name)


def test_of_messages_sent_together_exactly_the_confirmed_ones_are_reported(name: str, publisher: Publisher) -> None:
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    full = f"{name}.full"
    with broker.connect(server_url("BROKER")) as connection:
        channel = connection.default_channel
        channel.queue_declare(
            full, durable=True, auto_delete=False, arguments={"x-max-length": 0, "x-overflow": "reject-publish"}
        )
        try:
            messages = [Outgoing(key, b"{}", points_of(key)) for key in (name, full, name, full, name)]
            confirmed: list[int] = []
            # A list that extends itself from an iterator keeps what came before the error.
            with pytest.raises(ConnectionError, match="2 of 5"):
                confirmed.extend(publisher.send_all(messages))
            assert sorted(confirmed) == [0, 2, 4]
            assert broker.depth(channel, name) == 3
        finally:
            channel.queue_delete(full)


def test_a_batch_that_is_left_early_spoils_no_confirm_of_the_next(name: str, publisher: Publisher) -> None:
    messages = [Outgoing(PROBE, b"", points_of(PROBE)) for _ in range(50)]
    next(iter(publisher.send_all(messages)))
    assert sorted(publisher.send_all(messages[:3])) == [0, 1, 2]


def test_messages_are_delivered_again_when_the_consumer_dies_before_it_acknowledges_them(
    name: str, publisher: Publisher, consume: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were handled together and committed, then the process died: what a failpoint does in tests/chaos."""
    monkeypatch.setattr(consuming, "GATHER_SECONDS", DEADLINE_SECONDS)
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    envelopes = [an_envelope(name) for _ in range(consuming.PREFETCH)]
    committed: list[list[bytes]] = []

    def die(deliveries: Sequence[Delivery]) -> None:
        committed.append([each.body for each in deliveries])
        raise Dies

    assert len(list(publisher.send_all([Outgoing.of(each) for each in envelopes]))) == consuming.PREFETCH
    with pytest.raises(Dies):
        Consumer(server_url("BROKER"), name, [f"{name}.greeted"], die).run()
    assert [Envelope.from_json(body) for body in committed[0]] == envelopes
    monkeypatch.undo()
    arrived: Mailbox[bytes] = Mailbox()
    consume(lambda body, headers: arrived.put(body))
    again = [arrived.get(timeout=DEADLINE_SECONDS) for _ in envelopes]
    assert {Envelope.from_json(body).id for body in again} == {each.id for each in envelopes}


def test_messages_handled_together_are_acknowledged(
    name: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "GATHER_SECONDS", DEADLINE_SECONDS)
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    list(publisher.send_all([Outgoing.of(an_envelope(name)) for _ in range(2 * consuming.PREFETCH)]))
    sizes: list[int] = []

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        sizes.append(len(deliveries))
        consumer.should_stop = len(sizes) == 2
        return [None] * len(deliveries)

    consumer = Consumer(server_url("BROKER"), name, [f"{name}.greeted"], handle)
    consumer.run()
    assert sizes == [consuming.PREFETCH] * 2
    with broker.connect(server_url("BROKER")) as connection:
        until(lambda: broker.depth(connection.default_channel, name) == 0)


def test_messages_that_cannot_be_handled_together_are_handled_one_by_one(
    name: str, publisher: Publisher, consume: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "GATHER_SECONDS", DEADLINE_SECONDS)
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    envelopes = [an_envelope(name) for _ in range(consuming.PREFETCH)]
    list(publisher.send_all([Outgoing.of(each) for each in envelopes]))
    sizes: list[int] = []
    progress: list[float] = []

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict] | None:
        sizes.append(len(deliveries))
        progress.append(consumer._iterated_at)
        if len(deliveries) > 1:
            return None
        consumer.should_stop = len(sizes) == 1 + consuming.PREFETCH
        poisoned = Envelope.from_json(deliveries[0].body) == envelopes[3]
        return [DeadLetter("poisoned") if poisoned else None]

    consumer = Consumer(server_url("BROKER"), name, [f"{name}.greeted"], handle)
    consumer.run()
    assert sizes == [consuming.PREFETCH] + [1] * consuming.PREFETCH
    assert progress[-1] > progress[1], "however long they take, it is ready"
    assert taken_from(broker.dead_letter_queue(name).name, envelopes[3])
    with broker.connect(server_url("BROKER")) as connection:
        until(lambda: broker.depth(connection.default_channel, name) == 0)


def test_messages_handled_together_each_get_their_own_verdict(
    name: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consuming, "GATHER_SECONDS", DEADLINE_SECONDS)
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    envelopes = [an_envelope(name) for _ in range(consuming.PREFETCH)]
    list(publisher.send_all([Outgoing.of(each) for each in envelopes]))
    verdicts: dict[int, Verdict] = {3: DeadLetter("it cannot be done"), 5: Retry(1)}

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        consumer.should_stop = True
        return [verdicts.get(number) for number in range(len(deliveries))]

    consumer = Consumer(server_url("BROKER"), name, [f"{name}.greeted"], handle)
    consumer.run()
    assert taken_from(broker.dead_letter_queue(name).name, envelopes[3])
    retried = taken_from(broker.delay_queue(name, broker.DELAYS_MILLISECONDS[1]).name, envelopes[5])
    assert retried.headers[broker.ATTEMPT_HEADER] == 2
    with broker.connect(server_url("BROKER")) as connection:
        until(lambda: broker.depth(connection.default_channel, name) == 0)


@pytest.mark.parametrize("count", [1, 2], ids=["alone", "together"])
def test_a_message_that_is_held_is_not_acknowledged_with_later_ones(
    name: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    # Enough for the later ones to come together.
    monkeypatch.setattr(consuming, "GATHER_SECONDS", 0.5)
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    held = an_envelope(name)
    publisher.publish(held)
    handled: list[Delivery] = []

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict]:
        if Envelope.from_json(deliveries[0].body) == held:
            list(publisher.send_all([Outgoing.of(an_envelope(name)) for _ in range(count)]))
            return [Hold(3_600)]
        handled.extend(deliveries)
        consumer.should_stop = len(handled) == count
        return [None] * len(deliveries)

    consumer = Consumer(server_url("BROKER"), name, [f"{name}.greeted"], handle)
    consumer.run()
    assert taken_from(name, held)
    with broker.connect(server_url("BROKER")) as connection:
        assert broker.depth(connection.default_channel, name) == 0


def test_a_message_that_was_held_is_not_acknowledged_with_a_newer_one_handled_before_it(
    name: str, publisher: Publisher
) -> None:
    """They cannot be handled together, the newer one comes first, and then the process dies."""
    broker.declare(server_url("BROKER"), name, [f"{name}.greeted"])
    held, newer = an_envelope(name), an_envelope(name)
    handled: list[list[Envelope]] = []

    def handle(deliveries: Sequence[Delivery]) -> list[Verdict] | None:
        handled.append([Envelope.from_json(each.body) for each in deliveries])
        if len(handled) == 1:
            publisher.publish(newer)
        if handled[-1] == [held]:
            if [newer] in handled:
                raise Dies
            return [Hold(0)]
        return None if len(deliveries) > 1 else [None]

    publisher.publish(held)
    with pytest.raises(Dies):
        Consumer(server_url("BROKER"), name, [f"{name}.greeted"], handle).run()
    assert handled[-3:] == [[newer, held], [newer], [held]]
    assert taken_from(name, held)
