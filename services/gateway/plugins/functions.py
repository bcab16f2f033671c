"""pre-function and post-function, with only the Lua that `lua` supports."""

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins import lua
from services.gateway.plugins.base import Plugin, PluginConfig


class FunctionConfig(PluginConfig):
    access: list[Annotated[lua.Access, BeforeValidator(lua.access)]] = Field(default=[])
    header_filter: list[Annotated[lua.HeaderFilter, BeforeValidator(lua.header_filter)]] = Field(default=[])
    body_filter: list[Annotated[str, AfterValidator(lua.send_body)]] = Field(default=[])
    """For Kong only: `header_filter` has already replaced the body."""

    @model_validator(mode="after")
    def _has_a_function(self) -> Self:
        if not (self.access or self.header_filter or self.body_filter):
            raise ValueError("at least one of these fields must be non-empty: access, header_filter, body_filter")
        return self


class PreFunction(Plugin):
    name, priority = "pre-function", 1_000_000
    takes_consumer = False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = FunctionConfig.model_validate(entry.config or {})

    def access(self, exchange: Exchange) -> None:
        for function in self._config.access:
            function(exchange)

    def header_filter(self, exchange: Exchange, response: Response) -> None:
        for function in self._config.header_filter:
            function(exchange, response)


class PostFunction(PreFunction):
    name, priority = "post-function", -1000
