"""What every plugin that authenticates does with what it found: the headers that tell the upstream who asks."""

from services.gateway.configuration import Configuration, InvalidConfiguration
from services.gateway.exchange import Exchange
from services.gateway.schema import Consumer, JWTSecret


def identify(exchange: Exchange, consumer: Consumer, credential: JWTSecret | None) -> None:
    """The exchange is `consumer`'s; without a credential, anonymously. What the client says about itself is overwritten."""
    exchange.consumer, exchange.credential = consumer, credential
    exchange.set_header("X-Consumer-ID", consumer.id)
    exchange.set_header("X-Consumer-Username", consumer.username)
    exchange.set_header("X-Consumer-Custom-ID", consumer.custom_id)
    exchange.set_header("X-Credential-Identifier", credential.key if credential else None)
    exchange.set_header("X-Anonymous-Consumer", None if credential else "true")


def find_consumer(reference: str | None, configuration: Configuration) -> Consumer | None:
    """Whom `anonymous` names, by id or username. Raises InvalidConfiguration when nobody is called so."""
    if reference is None:
        return None
    id_ = configuration.find("consumers", reference)
    if id_ is None:
        raise InvalidConfiguration([f"plugins: anonymous: no consumer is called {reference}"])
    return configuration.consumers[id_]
