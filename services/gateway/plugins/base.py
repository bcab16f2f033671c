"""What a plugin is: a name, Kong's priority, its configuration, and what it does in each phase of an exchange."""

from collections.abc import Awaitable
from typing import ClassVar

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
    """A plugin cannot have of the upstream's answer what it needs; `kind` is what the client is told instead."""

    def __init__(self, kind: tuple[int, str]) -> None:
        super().__init__(kind)
        self.kind = kind


class Plugin:
    """Made once for each entry of the file; used by many exchanges at once, so it keeps nothing of one."""

    name: ClassVar[str]
    priority: ClassVar[int]
    """Kong's: higher runs first."""

    takes_consumer: ClassVar[bool] = True
    """Whether an entry may be for one consumer."""

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        """Raises pydantic's ValidationError or Misconfigured."""

    def access(self, exchange: Exchange) -> Access:
        """Before the upstream is asked. An answer ends the access phase, and the upstream is not asked.

        Called in the loop: what has to wait returns a coroutine.
        """
        return None

    def header_filter(self, exchange: Exchange, response: Response) -> Awaitable[None] | None:
        """Change the answer's headers, whoever made it. Raises Unusable, and then all plugins get the other answer to change."""
        return None

    def log(self, exchange: Exchange, response: Response) -> None:
        """After the answer has left."""
