"""Publishing with confirms: one wait for all that was published."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kombu import Connection, Queue

from chassis.base import failpoints
from chassis.messaging import broker
from chassis.messaging.envelope import Envelope

CONFIRM_TIMEOUT_SECONDS = 10
"""For all messages of a call."""

PROBE = "souk.probe"
"""Does not exist: the broker confirms and drops."""


@dataclass(frozen=True)
class Outgoing:
    """`queue` is declared first. `properties`: AMQP's. `points`: before it is published and after its confirm."""

    routing_key: str
    body: bytes
    points: tuple[str, str]
    exchange: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    content_type: str = "application/cloudevents+json"
    properties: dict[str, Any] = field(default_factory=dict)
    queue: Queue | None = None

    @classmethod
    def of(cls, envelope: Envelope) -> "Outgoing":
        return cls(envelope.type, envelope.to_json(), points_of(envelope.type), broker.EXCHANGE.name)


def points_of(routing_key: str) -> tuple[str, str]:
    return f"publish {routing_key}", f"published {routing_key}"


class Publisher:
    """Not thread-safe. Reconnects. Methods raise ConnectionError without a confirm."""

    def __init__(self, url: str, service: str = "", declares: bool = True) -> None:
        """service: whose exchange may be used. declares: else the exchanges are there."""
        self._url, self._service, self._declares = url, service, declares
        self._connection = self._connect()
        self._channel: Any = None
        self._tag = 0
        self._declared: set[str] = set()
        self._awaited: dict[int, int] = {}
        self._confirmed: list[int] = []
        self._refused = 0

    def _connect(self) -> Connection:
        # Nothing would answer heartbeats between messages.
        return broker.connect(self._url, heartbeat=0, confirms_each=False)

    def publish(self, envelope: Envelope) -> None:
        self.send(Outgoing.of(envelope))

    def send_to(self, queue: Queue, body: bytes, headers: dict[str, Any]) -> None:
        """To one of a service's own queues, which it declares."""
        exchange = queue.exchange.name
        self.send(Outgoing(queue.name, body, points_of(queue.name), exchange, headers=headers, queue=queue))

    def send(self, message: Outgoing) -> None:
        for _ in self.send_all([message]):
            pass

    def probe(self) -> None:
        """Raises when the broker blocks publishing: its memory or disk runs out."""
        if broker.is_amqp(self._url):
            self.send(Outgoing(PROBE, b"", points_of(PROBE), self._service))

    def send_all(self, messages: Sequence[Outgoing]) -> Iterator[int]:
        """Publish all, then yield the index of each once it is confirmed.

        Late confirms of an earlier call are ignored, as tags are never used twice.
        """
        try:
            channel = self._open()
            self._declare(channel, messages)
            self._awaited, self._confirmed, self._refused = {}, [], 0
            for index, message in enumerate(messages):
                failpoints.point(message.points[0])
                self._publish(channel, message, index)
            until = time.monotonic() + CONFIRM_TIMEOUT_SECONDS
            while self._awaited or self._confirmed:
                while self._confirmed:
                    index = self._confirmed.pop(0)
                    failpoints.point(messages[index].points[1])
                    yield index
                if self._awaited:
                    self._connection.drain_events(timeout=max(0.001, until - time.monotonic()))
            if self._refused:
                raise ConnectionError(f"{self._refused} of {len(messages)} messages were refused")
        except Exception as error:
            self._channel = None
            broker.abandon(self._connection)
            self._connection = self._connect()
            # kombu's consumer would take a bare timeout for its own.
            raise ConnectionError(f"RabbitMQ did not confirm: {error!r}") from error

    def _open(self) -> Any:
        if self._channel is None:
            channel: Any = self._connection.default_channel
            if self._declares:
                broker.declare_exchange(channel, broker.is_amqp(self._url))
            if self._service:
                broker.own_exchange(self._service)(channel).declare()
            if broker.is_amqp(self._url):
                channel.confirm_select()
                channel.events["basic_ack"].add(self._on_ack)
                channel.events["basic_nack"].add(self._on_nack)
            self._channel, self._tag, self._declared = channel, 0, set()
        return self._channel

    def _declare(self, channel: Any, messages: Sequence[Outgoing]) -> None:
        # To a queue that does not exist the broker would confirm and drop.
        for queue in (message.queue for message in messages):
            if queue is not None and queue.name not in self._declared:
                queue(channel).declare()
                self._declared.add(queue.name)

    def _publish(self, channel: Any, message: Outgoing, index: int) -> None:
        self._tag += 1
        self._awaited[self._tag] = index
        content = {"content_type": message.content_type, "content_encoding": "utf-8"}
        properties = {"delivery_mode": 2, **message.properties}
        # Celery's retries have one; py-amqp takes it as an argument of its own.
        priority = properties.pop("priority", None)
        made = channel.prepare_message(
            message.body, priority, headers=message.headers, properties=properties, **content
        )
        channel.basic_publish(made, exchange=message.exchange, routing_key=message.routing_key)
        if not broker.is_amqp(self._url):
            self._on_ack(self._tag, False)

    def _on_ack(self, tag: int, multiple: bool) -> None:
        self._confirmed += self._take(tag, multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += len(self._take(tag, multiple))

    def _take(self, tag: int, multiple: bool) -> list[int]:
        tags = [each for each in self._awaited if each <= tag] if multiple else [tag]
        return [self._awaited.pop(each) for each in tags if each in self._awaited]

    def close(self) -> None:
        self._channel = None
        self._connection.release()
