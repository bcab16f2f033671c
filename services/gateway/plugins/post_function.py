"""Changes a response's headers last. Kong runs any Lua; here, only what `lua` supports."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig
from services.gateway.plugins.lua import HeaderByScheme


def _read(expression: object) -> HeaderByScheme:
    return HeaderByScheme.read(str(expression))


class PostFunctionConfig(PluginConfig):
    header_filter: Annotated[list[Annotated[HeaderByScheme, BeforeValidator(_read)]], Field(min_length=1)]


class PostFunction(Plugin):
    name, priority = "post-function", -1000
    takes_consumer = False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = PostFunctionConfig.model_validate(entry.config or {})

    def header_filter(self, exchange: Exchange, response: Response) -> None:
        for header in self._config.header_filter:
            if exchange.scheme == header.scheme:
                response.headers.set(header.name, header.value)
