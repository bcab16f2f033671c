"""Shared by the authenticating plugins: set the consumer, and the headers that identify it to the upstream."""

from collections.abc import Callable

from services.gateway.config.configuration import Configuration
from services.gateway.config.schema import Consumer, Credential
from services.gateway.exchange.exchange import Exchange
from services.gateway.plugins.base import Misconfigured

Fallback = Callable[[Exchange], None]


def identify(exchange: Exchange, consumer: Consumer, credential: Credential | None) -> None:
    """Attribute the exchange to `consumer`, anonymously without a credential; overrides such headers from the client."""
    exchange.consumer, exchange.credential = consumer, credential
    exchange.set_header("X-Consumer-ID", consumer.id)
    exchange.set_header("X-Consumer-Username", consumer.username)
    exchange.set_header("X-Consumer-Custom-ID", consumer.custom_id)
    exchange.set_header("X-Credential-Identifier", credential.identifier if credential else None)
    exchange.set_header("X-Anonymous-Consumer", None if credential else "true")


def anonymous_fallback(reference: str | None, configuration: Configuration) -> Fallback | None:
    """How to attribute requests without a valid credential to the consumer that `anonymous` names, by id or username.

    Raises Misconfigured when there is no such consumer (Kong finds out at the first request, and responds 500).
    """
    if reference is None:
        return None
    id_ = configuration.find("consumers", reference)
    if id_ is None:
        raise Misconfigured(f"no consumer named {reference}", "anonymous")
    consumer = configuration.consumers[id_]
    return lambda exchange: identify(exchange, consumer, None)
