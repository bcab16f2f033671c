"""Shared by the authenticating plugins."""

from collections.abc import Callable

from services.gateway.config.configuration import Configuration
from services.gateway.config.schema import Consumer, Credential
from services.gateway.exchange.exchange import Exchange
from services.gateway.plugins.base import Misconfigured

Fallback = Callable[[Exchange], None]


def identify(exchange: Exchange, consumer: Consumer, credential: Credential | None) -> None:
    """Anonymous without a credential."""
    exchange.consumer, exchange.credential = consumer, credential
    exchange.set_header("X-Consumer-ID", consumer.id)
    exchange.set_header("X-Consumer-Username", consumer.username)
    exchange.set_header("X-Consumer-Custom-ID", consumer.custom_id)
    exchange.set_header("X-Credential-Identifier", credential.identifier if credential else None)
    exchange.set_header("X-Anonymous-Consumer", None if credential else "true")


def anonymous_fallback(reference: str | None, configuration: Configuration) -> Fallback | None:
    """`reference`: id or username of the consumer for requests without a valid credential.

    Raises Misconfigured when there is none (Kong responds 500 at the first request).
    """
    if reference is None:
        return None
    id_ = configuration.find("consumers", reference)
    if id_ is None:
        raise Misconfigured(f"no consumer named {reference}", "anonymous")
    consumer = configuration.consumers[id_]
    return lambda exchange: identify(exchange, consumer, None)
