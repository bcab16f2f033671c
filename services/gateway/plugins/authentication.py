"""What every plugin that authenticates does with what it found: the headers that tell the upstream who asks."""

from collections.abc import Callable

from services.gateway.config.configuration import Configuration
from services.gateway.config.schema import Consumer, Credential
from services.gateway.exchange.exchange import Exchange
from services.gateway.plugins.base import Misconfigured

Anonymously = Callable[[Exchange], None]


def identify(exchange: Exchange, consumer: Consumer, credential: Credential | None) -> None:
    """The exchange is `consumer`'s; without a credential, anonymously. What the client says about itself is overwritten."""
    exchange.consumer, exchange.credential = consumer, credential
    exchange.set_header("X-Consumer-ID", consumer.id)
    exchange.set_header("X-Consumer-Username", consumer.username)
    exchange.set_header("X-Consumer-Custom-ID", consumer.custom_id)
    exchange.set_header("X-Credential-Identifier", credential.identifier if credential else None)
    exchange.set_header("X-Anonymous-Consumer", None if credential else "true")


def anonymously(reference: str | None, configuration: Configuration) -> Anonymously | None:
    """Makes requests without a valid credential those of the consumer that `anonymous` names, by id or username.

    Raises Misconfigured when nobody is called so. (Kong finds out at the first request, and answers 500.)
    """
    if reference is None:
        return None
    id_ = configuration.find("consumers", reference)
    if id_ is None:
        raise Misconfigured(f"no consumer is called {reference}", "anonymous")
    consumer = configuration.consumers[id_]
    return lambda exchange: identify(exchange, consumer, None)
