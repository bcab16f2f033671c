"""Queues that RabbitMQ has lost: a full disk may leave a quorum queue without a leader, and nobody can consume it."""

import importlib
from collections.abc import Sequence

from amqp.exceptions import InternalError, NotFound

from chassis.messaging import broker
from launcher.manifests import SERVICES


def lost(url: str) -> list[str]:
    """Services with such a queue. Before any worker has run, none has one: RabbitMQ logs each question as an error."""
    if not broker.is_amqp(url) or not _is_declared(url):
        return []
    with_queues = [name for name, manifest in SERVICES.items() if manifest.has_queue]
    return [service for service in with_queues if any(_is_lost(url, queue) for queue in _names(service))]


def delete_lost(url: str, service: str) -> None:
    """Its worker declares them at its start, and the one for unrouted messages."""
    for queue in (*_names(service), broker.UNROUTED):
        if _is_lost(url, queue):
            with broker.connect(url) as connection:
                connection.default_channel.queue_delete(queue)


def types(service: str) -> Sequence[str]:
    """Of the messages that it receives."""
    handlers = importlib.import_module(f"services.{service}.app").service.handlers
    return sorted(handlers.by_type) if handlers else []


def _names(service: str) -> list[str]:
    delays = [broker.delay_queue(service, milliseconds).name for milliseconds in broker.DELAYS_MILLISECONDS]
    return [broker.service_queue(service, []).name, *delays, broker.dead_letter_queue(service).name]


def _is_declared(url: str) -> bool:
    """By the exchange, which has no leader to lose."""
    with broker.connect(url) as connection:
        try:
            connection.default_channel.exchange_declare(broker.EXCHANGE.name, broker.EXCHANGE.type, passive=True)
        except NotFound:
            return False
    return True


def _is_lost(url: str, queue: str) -> bool:
    with broker.connect(url) as connection:
        channel = connection.default_channel
        channel.basic_qos(0, 1, False)
        try:
            # Declaring such a queue succeeds.
            channel.basic_consume(queue)
        except InternalError:
            return True
        except NotFound:
            return False
    return False
