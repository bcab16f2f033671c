"""Publishing with confirms: methods return once the broker has the message."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Producer, Queue

from chassis.base import failpoints
from chassis.messaging import broker
from chassis.messaging.envelope import Envelope

CONFIRM_TIMEOUT_SECONDS = 10

PROBE = "souk.probe"
"""Does not exist: the broker confirms and drops."""


class Publisher:
    """Not thread-safe. Reconnects. Methods raise ConnectionError without a confirm."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = self._connect()
        self._producer: Producer | None = None

    def _connect(self) -> Any:
        # Nothing would answer heartbeats between messages.
        return broker.connect(self._url, heartbeat=0)

    def publish(self, envelope: Envelope) -> None:
        self._send(envelope.to_json(), exchange=broker.EXCHANGE, routing_key=envelope.type)

    def send_to(self, queue: Queue, body: bytes, headers: dict[str, Any]) -> None:
        """Bypasses the exchange."""
        self._send(body, exchange="", routing_key=queue.name, declare=[queue], headers=headers)

    def republish(self, body: bytes, exchange: str, routing_key: str, properties: dict[str, Any]) -> None:
        self._send(body, exchange=exchange, routing_key=routing_key, **properties)

    def probe(self) -> None:
        """Raises when the broker blocks publishing: its memory or disk runs out."""
        with self.confirming() as (producer, options):
            if options:
                producer.publish(b"", exchange="", routing_key=PROBE, **options)

    def _send(self, body: bytes, **arguments: Any) -> None:
        failpoints.point(f"publish {arguments['routing_key']}")
        content = {"content_type": "application/cloudevents+json", "content_encoding": "utf-8", "delivery_mode": 2}
        with self.confirming() as (producer, options):
            producer.publish(body, **{**content, **arguments, **options})
        failpoints.point(f"published {arguments['routing_key']}")

    @contextmanager
    def confirming(self) -> Iterator[tuple[Producer, dict[str, Any]]]:
        """Reconnects after errors: a late confirm must not pass for the next message's."""
        try:
            if self._producer is None:
                broker.declare_exchange(self._connection.default_channel, broker.is_amqp(self._url))
                self._producer = self._connection.Producer(auto_declare=False)
            yield self._producer, {"confirm_timeout": CONFIRM_TIMEOUT_SECONDS} if broker.is_amqp(self._url) else {}
        except Exception as error:
            self._producer = None
            broker.abandon(self._connection)
            self._connection = self._connect()
            # kombu's consumer would take a bare timeout for its own.
            raise ConnectionError(f"RabbitMQ did not confirm: {error!r}") from error

    def close(self) -> None:
        self._producer = None
        self._connection.release()
