"""Messages on a real RabbitMQ."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import uuid4

from kombu import Queue

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.relay import Send
from tests.conftest import server_url

DEADLINE_SECONDS = 20


def an_envelope(name: str) -> Envelope:
    return Envelope(uuid4(), "test", f"{name}.greeted", "x", clock.now(), {})


def taken_from(queue: str, envelope: Envelope) -> Any:
    """The message of `envelope`, taken from `queue` once it is there."""
    found: list[Any] = []

    def look(message: Any) -> None:
        message.ack()
        if str(envelope.id) in str(message.body):
            found.append(message)

    with (
        broker.connect(server_url("BROKER")) as connection,
        connection.Consumer([Queue(queue)], on_message=look, auto_declare=False),
    ):
        while not found:
            connection.drain_events(timeout=DEADLINE_SECONDS)
    return found[0]


def sending_each(send: Callable[[Envelope], None]) -> Send:
    """Sends one by one, confirmed at once."""

    def send_all(envelopes: Sequence[Envelope]) -> Iterator[Envelope]:
        for message in envelopes:
            send(message)
            yield message

    return send_all
