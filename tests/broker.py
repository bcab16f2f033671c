"""Messages on a real RabbitMQ, as tests send and find them."""

from typing import Any
from uuid import uuid4

from kombu import Queue

from chassis.base import clock
from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from tests.conftest import server_url

DEADLINE_SECONDS = 20


def said(name: str) -> Envelope:
    return Envelope(uuid4(), "test", f"{name}.said", "x", clock.now(), {})


def taken_from(queue: str, envelope: Envelope) -> Any:
    """The message of `envelope`, waited for in `queue`."""
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
