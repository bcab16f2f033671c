"""The interface of a backing server."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from launcher.installation import Installation
from launcher.program import Program


class Server(ABC):
    """A backing server, external or run here."""

    name: ClassVar[str]
    title: ClassVar[str]
    variable: ClassVar[str]
    """Environment variable with the URL of an external server, which is used instead."""

    ports: ClassVar[Mapping[str, int]]
    """Preferred port by name."""

    start_seconds: ClassVar[float] = 30.0

    without: ClassVar[str] = ""
    """Reported when an optional server is missing; empty for a required one."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.state = installation.state
        self.given = installation.environment.get(self.variable, "").rstrip("/")

    def find(self) -> bool:
        """Find the program, or install it. False if the server is unavailable here."""
        return True

    def prepare(self) -> None:  # noqa: B027 - some have nothing to prepare
        """Write the configuration and create the data folder, once the ports are chosen."""

    @abstractmethod
    def programs(self) -> list[Program]:
        """In starting order; the last one is the server itself."""

    @abstractmethod
    def own_url(self) -> str:
        """URL of the server started here."""

    @abstractmethod
    def probe(self, url: str) -> None:
        """Raises unless the server at `url` is ready."""

    @property
    def url(self) -> str:
        return self.given or self.own_url()

    def port(self, name: str) -> int:
        return self.installation.ports[name]

    def secret(self, name: str) -> str:
        return self.installation.secrets[name]
