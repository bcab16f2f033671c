"""The interface of a backing server."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from launcher.installation import Installation
from launcher.program import Program


class Server(ABC):
    """External or run here."""

    name: ClassVar[str]
    title: ClassVar[str]
    variable: ClassVar[str]
    """Environment variable with an external server's URL."""

    ports: ClassVar[Mapping[str, int]]
    """Preferred port by name."""

    start_seconds: ClassVar[float] = 30.0

    without: ClassVar[str] = ""
    """Reported when missing; empty if required."""

    supported: ClassVar[tuple[int, int]] = (0, 0)
    """The oldest version that still gets security fixes."""

    instead: ClassVar[str] = ""
    """Of an older one."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.state = installation.state
        self.given = installation.environment.get(self.variable, "").rstrip("/")

    def find(self) -> bool:
        """Find or install it. False if unavailable."""
        return True

    def prepare(self) -> None:  # noqa: B027 - some have nothing to prepare
        """Write its configuration, once the ports are chosen."""

    @abstractmethod
    def programs(self) -> list[Program]:
        """In starting order, the server last."""

    @abstractmethod
    def own_url(self) -> str:
        """URL of the server started here."""

    @abstractmethod
    def probe(self, url: str) -> None:
        """Raises unless it is ready."""

    def credentials(self, program: str) -> dict[str, str]:
        """Settings by which the program reaches it, as a user with no more rights than it needs; for "", the operator's."""
        return {}

    def version(self) -> str:
        """Of the running server; empty if unknown."""
        return ""

    def outdated(self) -> str:
        """A line on a version without support and what to use instead; else empty."""
        try:
            version = self.version()
        except Exception:  # each server's library has its own errors
            return ""
        numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
        return f"{self.title} {version}: {self.instead}" if numbers and numbers < self.supported else ""

    @property
    def url(self) -> str:
        return self.given or self.own_url()

    def port(self, name: str) -> int:
        return self.installation.ports[name]

    def address(self, name: str) -> str:
        """host:port, as programs reach it."""
        return self.installation.address(name)

    def secret(self, name: str) -> str:
        return self.installation.secrets[name]
