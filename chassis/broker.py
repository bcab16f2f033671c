"""RabbitMQ: the topic exchange, each service's queue with its delay and dead-letter queues, publishing and consuming.

With a `redis://` broker the same code runs on kombu's Redis transport, which gives up publisher confirms, delay queues
and alternate exchanges: retries then wait inside the worker.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from kombu import Connection, Exchange, Producer, Queue, binding
from kombu.mixins import ConsumerMixin
from structlog import get_logger

from chassis.messages import Envelope

log = get_logger(__name__)

DELAYS_MILLISECONDS = (500, 5_000, 60_000, 300_000)
"""Wait before each retry. After the last the message is dead."""

ATTEMPT_HEADER = "x-souk-attempt"
PREFETCH = 16
PUBLISH_TIMEOUT_SECONDS = 10

# What no queue is bound for is kept and counted instead of dropped by the broker.
UNROUTED = "souk.unrouted"
_QUORUM = {"x-queue-type": "quorum"}
EXCHANGE = Exchange("souk", type="topic", durable=True, arguments={"alternate-exchange": UNROUTED})


def connect(url: str) -> Connection:
    """An AMQP connection whose publishes wait for the broker's confirm (kombu's are off unless asked for)."""
    options = {"confirm_publish": True} if is_amqp(url) else {"visibility_timeout": 60}
    return Connection(url, transport_options=options, connect_timeout=5, heartbeat=10)


def is_amqp(url: str) -> bool:
    return url.startswith(("amqp://", "amqps://"))


def service_queue(service: str, types: list[str]) -> Queue:
    """The service's queue: one queue with many bindings, as kombu keeps only the last of several queues of one name."""
    arguments = {
        **_QUORUM,
        # A message whose handling kills the worker over and over ends as a dead letter.
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_queue(service).name,
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


def dead_queue(service: str) -> Queue:
    return Queue(f"{service}.dead", durable=True, queue_arguments=_QUORUM)


class Publisher:
    """Publishes envelopes, each confirmed by the broker. For one thread; reconnects by itself."""

    def __init__(self, url: str) -> None:
        self._connection = connect(url)
        self._confirmed = {"confirm_timeout": PUBLISH_TIMEOUT_SECONDS} if is_amqp(url) else {}
        self._producer: Producer | None = None

    def publish(self, envelope: Envelope) -> None:
        """Raises when the broker did not confirm."""
        self._send(envelope.to_json(), exchange=EXCHANGE, routing_key=envelope.type, declare=[EXCHANGE])

    def park(self, body: bytes, queue: Queue, headers: dict[str, Any]) -> None:
        """Put a message straight into `queue`, past the exchange."""
        self._send(body, exchange="", routing_key=queue.name, declare=[queue], headers=headers)

    def _send(self, body: bytes, **arguments: Any) -> None:
        if self._producer is None:
            self._producer = self._connection.Producer(auto_declare=False)
        try:
            self._producer.publish(
                body,
                content_type="application/cloudevents+json",
                content_encoding="utf-8",
                delivery_mode=2,
                **self._confirmed,
                **arguments,
            )
        except Exception:
            self.close()
            raise

    def close(self) -> None:
        self._producer = None
        self._connection.release()


def declare(url: str, service: str, types: list[str]) -> None:
    """Create the exchange and every queue of `service`. Idempotent."""
    with connect(url) as connection:
        channel = connection.default_channel
        if is_amqp(url):
            Exchange(UNROUTED, type="fanout", durable=True)(channel).declare()
            unrouted = Queue(
                UNROUTED,
                Exchange(UNROUTED, type="fanout", durable=True),
                durable=True,
                queue_arguments={**_QUORUM, "x-max-length": 100_000},
            )
            unrouted(channel).declare()
            for milliseconds in DELAYS_MILLISECONDS:
                delay_queue(service, milliseconds)(channel).declare()
        EXCHANGE(channel).declare()
        dead_queue(service)(channel).declare()
        service_queue(service, types)(channel).declare()


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
        self.is_ready = threading.Event()
        self._waiting: list[tuple[float, Any]] = []

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803 - kombu's name
        self.is_ready.clear()
        declare(self.url, self.service, self.types)
        queue = service_queue(self.service, self.types)
        # With on_message kombu hands over the raw body; its own decoding would acknowledge what it cannot read.
        return [Consumer([queue], on_message=self._receive, prefetch_count=PREFETCH)]

    def on_consume_ready(self, connection: Any, channel: Any, consumers: Any, **kwargs: Any) -> None:
        self.is_ready.set()

    def on_connection_error(self, exc: Exception, interval: float) -> None:
        self.is_ready.clear()
        log.warning("broker away", error=repr(exc), next_try_seconds=interval)

    def on_iteration(self) -> None:
        due = [message for at, message in self._waiting if at <= time.monotonic()]
        self._waiting = [(at, message) for at, message in self._waiting if at > time.monotonic()]
        for message in due:
            self._receive(message)

    def _receive(self, message: Any) -> None:
        body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
        verdict = self.handle(body, message.headers)
        if verdict is None:
            message.ack()
        elif verdict[0] == "dead":
            self._bury(message, body, verdict[1])
        else:
            self._postpone(message, body, verdict[1])

    def _bury(self, message: Any, body: bytes, reason: str) -> None:
        headers = {**message.headers, "x-souk-error": reason[:2_000]}
        self.publisher.park(body, dead_queue(self.service), headers)
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
