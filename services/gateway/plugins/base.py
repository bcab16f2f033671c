"""The interface of a plugin: its name, Kong's priority, its configuration, and its phases."""

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
    """A plugin's configuration does not fit the rest of the file; `place` is the field inside `config`."""

    def __init__(self, message: str, *place: str) -> None:
        super().__init__(message)
        self.place = place


class Unusable(Exception):
    """A plugin cannot process the upstream's response; `kind` is the error for the client."""

    def __init__(self, kind: tuple[int, str]) -> None:
        super().__init__(kind)
        self.kind = kind


class Plugin:
    """Made once per entry of the file and shared by concurrent exchanges, so it holds no state of one."""

    name: ClassVar[str]
    priority: ClassVar[int]
    """Kong's; higher runs first."""

    takes_consumer: ClassVar[bool] = True
    """Whether an entry may be for one consumer."""

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        """Raises pydantic's ValidationError or Misconfigured."""

    @property
    def config(self) -> dict[str, Any]:
        """As the file has it, with defaults: each plugin keeps it as `_config`."""
        config: PluginConfig = vars(self)["_config"]
        return config.model_dump(by_alias=True)

    def access(self, exchange: Exchange) -> Access:
        """Run before the request is forwarded; a response ends the phase and is sent instead of forwarding.

        Called in the loop: return a coroutine to wait.
        """
        return None

    def header_filter(self, exchange: Exchange, response: Response) -> Awaitable[None] | None:
        """Change the response's headers. Raises Unusable: then all plugins run again on the error response."""
        return None

    def log(self, exchange: Exchange, response: Response) -> None:
        """Run after the response has been sent."""
