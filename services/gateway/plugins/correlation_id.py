"""Gives each request an id, unless it brings one, and says it to the upstream and, if wished, to the client."""

import itertools
from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import Field

from services.gateway.answers import Answer
from services.gateway.configuration import Configuration
from services.gateway.exchange import Exchange
from services.gateway.plugins.base import Plugin, PluginConfig


class CorrelationIDConfig(PluginConfig):
    header_name: Annotated[str, Field(min_length=1)] = "Kong-Request-ID"
    generator: Literal["uuid", "uuid#counter"] = "uuid#counter"
    echo_downstream: bool = False


class CorrelationID(Plugin):
    name, priority = "correlation-id", 100001

    def __init__(self, config: dict[str, Any], configuration: Configuration) -> None:
        self._config = CorrelationIDConfig.model_validate(config)
        self._generate = _generator(self._config.generator)

    def access(self, exchange: Exchange) -> Answer | None:
        self._id(exchange)
        return None

    def header_filter(self, exchange: Exchange, answer: Answer) -> None:
        if self._config.echo_downstream:
            answer.headers[self._config.header_name] = self._id(exchange)

    def _id(self, exchange: Exchange) -> str:
        """The one decided before, the client's, or a new one."""
        name = self._config.header_name
        chosen = exchange.upstream_headers.get(name.title()) or exchange.header(name) or self._generate()
        exchange.set_header(name, chosen)
        return chosen


def _generator(kind: str) -> Callable[[], str]:
    if kind == "uuid":
        return lambda: str(uuid4())
    prefix, counter = uuid4(), itertools.count(1)
    return lambda: f"{prefix}#{next(counter)}"
