"""RabbitMQ connections, exchange and queues.

kombu's Redis transport has no publisher confirms, delay queues or alternate exchanges: with `redis://`, retries wait in the
worker.
"""

from contextlib import suppress
from typing import Any

from amqp import Channel
from kombu import Connection, Exchange, Queue, binding

DELAYS_MILLISECONDS = (500, 5_000, 60_000, 300_000)
"""Before each retry; then the dead-letter queue."""

ATTEMPT_HEADER = "x-souk-attempt"
REPLAY_HEADER = "x-souk-replay"
"""How often it was a dead letter that an operator sent again."""

ERROR_HEADER = "x-souk-error"
DIED_AT_HEADER = "x-souk-died-at"

KEY_PREFIX = "souk:messages:"
"""Of all keys in Redis."""

VISIBILITY_SECONDS = 60
"""Redis delivers again what was neither acknowledged nor renewed: more than a consumer takes to handle it."""

# Keeps unroutable messages, which the broker would drop.
UNROUTED = "souk.unrouted"
_QUORUM = {"x-queue-type": "quorum"}
EXCHANGE = Exchange("souk", type="topic", durable=True, arguments={"alternate-exchange": UNROUTED})


def connect(url: str, heartbeat: int = 10, confirms_each: bool = True, read_seconds: float | None = None) -> Connection:
    """confirms_each: each publish waits for its confirm, which kombu leaves off. read_seconds: a silent broker is an error."""
    limits = {} if read_seconds is None else {"read_timeout": read_seconds, "write_timeout": read_seconds}
    options = (
        {"confirm_publish": confirms_each, **limits} if is_amqp(url) else {"visibility_timeout": VISIBILITY_SECONDS}
    )
    return Connection(
        url, transport_options={**transport_options(url), **options}, connect_timeout=5, heartbeat=heartbeat
    )


def transport_options(url: str) -> dict[str, Any]:
    return {"confirm_publish": True} if is_amqp(url) else {"global_keyprefix": KEY_PREFIX}


def abandon(connection: Connection) -> None:
    """Skip the AMQP close handshake: an unresponsive peer would block us."""
    with suppress(Exception):
        connection.collect()


def is_amqp(url: str) -> bool:
    return url.startswith(("amqp://", "amqps://"))


def own_exchange(service: str) -> Exchange:
    """To the service's queues. Through the default exchange it could send to any."""
    return Exchange(service, type="direct", durable=True)


def service_queue(service: str, types: list[str]) -> Queue:
    """Many bindings: kombu keeps only the last of several queues of one name."""
    arguments = {
        **_QUORUM,
        # Dead-letter a message that keeps crashing the worker.
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": service,
        "x-dead-letter-routing-key": dead_letter_queue(service).name,
    }
    bindings = [binding(own_exchange(service), routing_key=service)]
    bindings += [binding(EXCHANGE, routing_key=type_) for type_ in types]
    return Queue(service, bindings=bindings, durable=True, queue_arguments=arguments)


def delay_queue(service: str, milliseconds: int) -> Queue:
    """Messages return to the service's queue after the delay."""
    arguments = {
        **_QUORUM,
        "x-message-ttl": milliseconds,
        "x-dead-letter-exchange": service,
        "x-dead-letter-routing-key": service,
        # Without these two a broker crash could lose the message.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    return _own_queue(service, f"{service}.retry.{milliseconds}ms", arguments)


def dead_letter_queue(service: str) -> Queue:
    return _own_queue(service, f"{service}.dead", _QUORUM)


def celery_queue(service: str, is_amqp: bool) -> Queue:
    # Unknown tasks become dead letters.
    arguments = {"x-dead-letter-exchange": service, "x-dead-letter-routing-key": dead_letter_queue(service).name}
    return _own_queue(service, f"{service}.celery", arguments if is_amqp else None)


def _own_queue(service: str, name: str, arguments: dict[str, Any] | None) -> Queue:
    return Queue(name, own_exchange(service), routing_key=name, durable=True, queue_arguments=arguments)


def declare_exchange(channel: Any, with_alternate: bool) -> None:
    """Idempotent."""
    if with_alternate:
        exchange = Exchange(UNROUTED, type="fanout", durable=True)
        arguments = {**_QUORUM, "x-max-length": 100_000}
        Queue(UNROUTED, exchange, durable=True, queue_arguments=arguments)(channel).declare()
    EXCHANGE(channel).declare()


def declare(url: str, service: str, types: list[str]) -> None:
    """Idempotent."""
    with connect(url) as connection:
        declare_on(connection.default_channel, service, types, is_amqp(url))


def declare_on(channel: Any, service: str, types: list[str], with_delays: bool) -> None:
    """The broker closes the channel if an existing declaration differs."""
    declare_exchange(channel, with_delays)
    if with_delays:
        for milliseconds in DELAYS_MILLISECONDS:
            delay_queue(service, milliseconds)(channel).declare()
    dead_letter_queue(service)(channel).declare()
    service_queue(service, types)(channel).declare()


def depth(channel: Any, queue: str) -> int:
    """On RabbitMQ without the queue, raises amqp's NotFound and closes the channel."""
    # kombu looks for Redis's queues without their prefix, and finds none.
    return int(channel.queue_declare(queue, passive=isinstance(channel, Channel)).message_count)


def body_of(message: Any) -> bytes:
    """Some transports return text."""
    return message.body.encode() if isinstance(message.body, str) else bytes(message.body)
