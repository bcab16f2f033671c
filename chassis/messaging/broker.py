"""RabbitMQ: the topic exchange, each service's queue with its delay and dead-letter queues, publishing and consuming.

With a `redis://` broker the same code runs on kombu's Redis transport, which gives up publisher confirms, delay queues
and alternate exchanges: retries then wait inside the worker.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu import Connection, Exchange, Producer, Queue, binding
from kombu.mixins import ConsumerMixin
from structlog import get_logger

from chassis.base import clock, failpoints, telemetry
from chassis.messaging.envelope import Envelope

log = get_logger(__name__)

DELAYS_MILLISECONDS = (500, 5_000, 60_000, 300_000)
"""Wait before each retry. After the last the message is dead."""

ATTEMPT_HEADER = "x-souk-attempt"
ERROR_HEADER = "x-souk-error"
DIED_AT_HEADER = "x-souk-died-at"
COUNT_DEAD_SECONDS = 10
PREFETCH = 16
PUBLISH_TIMEOUT_SECONDS = 10
MAX_TURN_SECONDS = 45
"""Longest that one message may keep the consumer: its database statements, locks and retries are bounded below this."""

# What no queue is bound for is kept and counted instead of dropped by the broker.
UNROUTED = "souk.unrouted"
_QUORUM = {"x-queue-type": "quorum"}
EXCHANGE = Exchange("souk", type="topic", durable=True, arguments={"alternate-exchange": UNROUTED})


def connect(url: str, heartbeat: int = 10) -> Connection:
    """An AMQP connection whose publishes wait for the broker's confirm (kombu's are off unless asked for)."""
    options = {"confirm_publish": True} if is_amqp(url) else {"visibility_timeout": 60}
    return Connection(url, transport_options=options, connect_timeout=5, heartbeat=heartbeat)


def abandon(connection: Connection) -> None:
    """Close without a word: who does not answer would not answer the farewell either, and we would wait for it."""
    with suppress(Exception):
        connection.collect()


def is_amqp(url: str) -> bool:
    return url.startswith(("amqp://", "amqps://"))


def service_queue(service: str, types: list[str]) -> Queue:
    """The service's queue: one queue with many bindings, as kombu keeps only the last of several queues of one name."""
    arguments = {
        **_QUORUM,
        # A message whose handling kills the worker over and over ends as a dead letter.
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letter_queue(service).name,
    }
    bindings = [binding(EXCHANGE, routing_key=type_) for type_ in types]
    return Queue(service, bindings=bindings, durable=True, queue_arguments=arguments)


def delay_queue(service: str, milliseconds: int) -> Queue:
    """A queue without consumers: what lies in it returns to the service's queue after the delay."""
    arguments = {
        **_QUORUM,
        "x-message-ttl": milliseconds,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": service,
        # Without these two a crash between the queues could lose the message.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return Queue(f"{service}.retry.{milliseconds}ms", durable=True, queue_arguments=arguments)


def dead_letter_queue(service: str) -> Queue:
    return Queue(f"{service}.dead", durable=True, queue_arguments=_QUORUM)


class Publisher:
    """Publishes envelopes, each confirmed by the broker. For one thread; reconnects by itself."""

    def __init__(self, url: str) -> None:
        # Between two messages nobody would answer the broker's heartbeats; a dead connection shows at the next publish.
        self._url = url
        self._connection = connect(url, heartbeat=0)
        self._is_amqp = is_amqp(url)
        self._confirmed = {"confirm_timeout": PUBLISH_TIMEOUT_SECONDS} if is_amqp(url) else {}
        self._producer: Producer | None = None

    def publish(self, envelope: Envelope) -> None:
        """Raises ConnectionError when the broker did not confirm."""
        self._send(envelope.to_json(), exchange=EXCHANGE, routing_key=envelope.type)

    def park(self, body: bytes, queue: Queue, headers: dict[str, Any]) -> None:
        """Put a message straight into `queue`, past the exchange. Raises ConnectionError when the broker did not confirm."""
        self._send(body, exchange="", routing_key=queue.name, declare=[queue], headers=headers)

    def pass_on(self, body: bytes, exchange: str, routing_key: str, properties: dict[str, Any]) -> None:
        """Publish a message as it was, e.g. from a dead-letter queue. Raises ConnectionError when the broker did not confirm."""
        self._send(body, exchange=exchange, routing_key=routing_key, **properties)

    def _send(self, body: bytes, **arguments: Any) -> None:
        failpoints.point(f"publish {arguments['routing_key']}")
        try:
            if self._producer is None:
                declare_exchange(self._connection.default_channel, self._is_amqp)
                self._producer = self._connection.Producer(auto_declare=False)
            self._producer.publish(
                body,
                delivery_mode=2,
                **{"content_type": "application/cloudevents+json", "content_encoding": "utf-8", **arguments},
                **self._confirmed,
            )
        except Exception as error:
            self._producer = None
            abandon(self._connection)
            self._connection = connect(self._url, heartbeat=0)
            # In a consumer, kombu would take a bare timeout for its own: there is nothing to read, and go on.
            raise ConnectionError(f"RabbitMQ did not confirm: {error!r}") from error
        failpoints.point(f"published {arguments['routing_key']}")

    def close(self) -> None:
        self._producer = None
        self._connection.release()


def declare_exchange(channel: Any, with_alternate: bool) -> None:
    """Create the exchange, and first of all what keeps the messages that it has no queue for. Idempotent."""
    if with_alternate:
        exchange = Exchange(UNROUTED, type="fanout", durable=True)
        arguments = {**_QUORUM, "x-max-length": 100_000}
        Queue(UNROUTED, exchange, durable=True, queue_arguments=arguments)(channel).declare()
    EXCHANGE(channel).declare()


def declare(url: str, service: str, types: list[str]) -> None:
    """Create the exchange and every queue of `service`. Idempotent."""
    with connect(url) as connection:
        channel = connection.default_channel
        declare_exchange(channel, is_amqp(url))
        if is_amqp(url):
            for milliseconds in DELAYS_MILLISECONDS:
                delay_queue(service, milliseconds)(channel).declare()
        dead_letter_queue(service)(channel).declare()
        service_queue(service, types)(channel).declare()


def depth(channel: Any, queue: str) -> int:
    """How many messages lie in the queue. Raises amqp's NotFound, and the channel is closed, where there is none."""
    return int(channel.queue_declare(queue, passive=True).message_count)


class _Stopping(Exception):
    """The consumer was told to stop while it waited for the broker."""


class Consumer(ConsumerMixin):
    """Hands each message of the service's queue to `handle`, and acknowledges when it has returned.

    `handle(body, headers)` returns None when done, or where the message goes instead: ("retry", delay index) or ("dead", reason).
    """

    def __init__(
        self, url: str, service: str, types: list[str], handle: Callable[[bytes, dict[str, Any]], Any]
    ) -> None:
        self.url = url
        self.service = service
        self.types = types
        self.handle = handle
        self.connection = connect(url)
        self.publisher = Publisher(url)
        self._is_consuming = threading.Event()
        self._turned_at = 0.0
        self._waiting: list[tuple[float, Any]] = []
        self._channel: Any = None
        self._count_at = 0.0

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803 - kombu's name
        self._is_consuming.clear()
        declare(self.url, self.service, self.types)
        queue = service_queue(self.service, self.types)
        # With on_message kombu hands over the raw body; its own decoding would acknowledge what it cannot read.
        return [Consumer([queue], on_message=self._receive, prefetch_count=PREFETCH)]

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **kwargs: Any) -> None:
        self._turned_at = time.monotonic()
        self._channel = channel
        self._is_consuming.set()

    @property
    def is_ready(self) -> bool:
        """Whether it has its queue, and has not hung in a message's handling for long."""
        return self._is_consuming.is_set() and time.monotonic() - self._turned_at < MAX_TURN_SECONDS

    def wait_ready(self, seconds: float) -> bool:
        """Whether it had its queue within that time."""
        return self._is_consuming.wait(seconds)

    def run(self, *args: Any, **kwargs: Any) -> None:
        with suppress(_Stopping):
            super().run(*args, **kwargs)  # type: ignore[no-untyped-call]

    @contextmanager
    def establish_connection(self) -> Iterator[Connection]:
        with self.connection.clone() as connection:
            connection.ensure_connection(self.on_connection_error, interval_max=5, callback=self._leave_if_stopping)
            yield connection

    def _leave_if_stopping(self) -> None:
        if self.should_stop:
            raise _Stopping

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        self._is_consuming.clear()
        log.warning("broker away", error=repr(exc), next_try_seconds=interval)

    def on_iteration(self) -> None:
        self._turned_at = time.monotonic()
        due = [message for at, message in self._waiting if at <= time.monotonic()]
        self._waiting = [(at, message) for at, message in self._waiting if at > time.monotonic()]
        for message in due:
            self._receive(message)
        if self._count_at <= time.monotonic() and is_amqp(self.url):
            self._count_at = time.monotonic() + COUNT_DEAD_SECONDS
            for queue in (dead_letter_queue(self.service).name, UNROUTED):
                telemetry.DEAD_LETTERS.labels(queue).set(depth(self._channel, queue))

    def _receive(self, message: Any) -> None:
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        key = message.delivery_info.get("routing_key")
        failpoints.point(f"receive {key}")
        verdict = self.handle(body, message.headers)
        failpoints.point(f"acknowledge {key}")
        if verdict is None:
            message.ack()
        elif verdict[0] == "dead":
            self._bury(message, body, verdict[1])
        else:
            self._postpone(message, body, verdict[1])
        failpoints.point(f"acknowledged {key}")

    def _bury(self, message: Any, body: bytes, reason: str) -> None:
        headers = {**message.headers, ERROR_HEADER: reason[:2_000], DIED_AT_HEADER: clock.now().isoformat()}
        self.publisher.park(body, dead_letter_queue(self.service), headers)
        message.ack()

    def _postpone(self, message: Any, body: bytes, attempt: int) -> None:
        milliseconds = DELAYS_MILLISECONDS[attempt]
        headers = {**message.headers, ATTEMPT_HEADER: attempt + 1}
        if is_amqp(self.url):
            # First the copy, confirmed, then the acknowledgement: a crash between leaves two, never none.
            self.publisher.park(body, delay_queue(self.service, milliseconds), headers)
            message.ack()
        else:
            message.headers.update(headers)
            self._waiting.append((time.monotonic() + milliseconds / 1000, message))
