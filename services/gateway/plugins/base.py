"""The interface of a plugin."""

from collections.abc import Awaitable
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response

Access = Response | None | Awaitable[Response | None]


class PluginConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Misconfigured(Exception):
    """`place`: the field inside `config`."""

    def __init__(self, message: str, *place: str) -> None:
        super().__init__(message)
        self.place = place


class Unusable(Exception):
    """`kind`: the error for the client."""

    def __init__(self, kind: tuple[int, str]) -> None:
        super().__init__(kind)
        self.kind = kind


class Plugin:
    """Shared by concurrent exchanges: holds no state of one."""

    name: ClassVar[str]
    priority: ClassVar[int]
    """Higher runs first."""

    takes_consumer: ClassVar[bool] = True
    """Whether an entry may name a consumer."""

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        """Raises ValidationError or Misconfigured."""

    @property
    def config(self) -> dict[str, Any]:
        config: PluginConfig = vars(self)["_config"]
        return config.model_dump(by_alias=True)

    def access(self, exchange: Exchange) -> Access:
        """Run before forwarding; a response is sent instead.

        Called in the loop: return a coroutine to wait.
        """
        return None

    def header_filter(self, exchange: Exchange, response: Response) -> Awaitable[None] | None:
        """Raises Unusable: then all plugins run again on the error response."""
        return None

    def log(self, exchange: Exchange, response: Response) -> None:
        """Run after the response was sent."""
