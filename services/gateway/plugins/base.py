"""What a plugin is: a name, Kong's priority, its configuration, and what it does in each phase of an exchange."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from services.gateway.answers import Answer
from services.gateway.configuration import Configuration
from services.gateway.exchange import Exchange


class PluginConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Plugin:
    """Made once for each entry of the file; used by many threads at once, so it keeps nothing of an exchange."""

    name: ClassVar[str]
    priority: ClassVar[int]
    """Kong's: higher runs first."""

    takes_consumer: ClassVar[bool] = True
    """Whether an entry may be for one consumer."""

    def __init__(self, config: dict[str, Any], configuration: Configuration) -> None:
        """Raises pydantic's ValidationError or InvalidConfiguration."""

    def access(self, exchange: Exchange) -> Answer | None:
        """Before the upstream is asked. An answer ends the access phase, and the upstream is not asked."""
        return None

    def header_filter(self, exchange: Exchange, answer: Answer) -> None:
        """Change the answer's headers, whoever made it."""

    def log(self, exchange: Exchange, answer: Answer) -> None:
        """After all decisions, before the answer leaves."""
