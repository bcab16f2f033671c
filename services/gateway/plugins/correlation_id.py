"""Gives each request an id."""

import itertools
import os
import re
from collections.abc import Callable
from typing import Annotated, Literal
from uuid import uuid4

from pydantic import Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig

_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class CorrelationIDConfig(PluginConfig):
    header_name: Annotated[str, Field(min_length=1)] = "Kong-Request-ID"
    generator: Literal["uuid", "uuid#counter", "tracker"] = "uuid#counter"
    echo_downstream: bool = False


class CorrelationID(Plugin):
    name, priority = "correlation-id", 100001

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = CorrelationIDConfig.model_validate(entry.config or {})
        self._generate = _generator(self._config.generator)

    def access(self, exchange: Exchange) -> Response | None:
        self._id(exchange)
        return None

    def header_filter(self, exchange: Exchange, response: Response) -> None:
        if self._config.echo_downstream:
            response.headers.set(self._config.header_name, self._id(exchange))

    def _id(self, exchange: Exchange) -> str:
        name = self._config.header_name
        decided = exchange.upstream_headers.get(name.lower())
        chosen = (decided and decided[1]) or exchange.header(name) or self._generate(exchange)
        exchange.set_header(name, chosen)
        if chosen != exchange.header(name) or _UUID.fullmatch(chosen):
            # Other text of the client's may be secret.
            exchange.correlation_id = chosen
        return chosen


def _generator(kind: str) -> Callable[[Exchange], str]:
    if kind == "uuid":
        return lambda exchange: str(uuid4())
    counter = itertools.count(1)
    if kind == "tracker":
        return lambda exchange: _tracked(exchange, next(counter))
    prefix = uuid4()
    return lambda exchange: f"{prefix}#{next(counter)}"


def _tracked(exchange: Exchange, number: int) -> str:
    """ip-port-pid-connection-request-time; connection and request share a number."""
    return f"127.0.0.1-{exchange.head.port}-{os.getpid()}-{number}-1-{exchange.started_at:.3f}"
