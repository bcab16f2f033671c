"""What a backing server has to offer to be brought up with the others."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from launcher.installation import Installation
from launcher.program import Program


class Server(ABC):
    """One need of Souk, and how this machine meets it."""

    name: ClassVar[str]
    title: ClassVar[str]
    variable: ClassVar[str]
    """Environment variable of a URL that meets the need, so that nothing is started."""

    ports: ClassVar[Mapping[str, int]]
    """Port by name, with the one that people expect. The program that listens on it is `owner(name)`."""

    start_seconds: ClassVar[float] = 30.0

    without: ClassVar[str] = ""
    """What is given up where there is none; empty for a need that has to be met."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.state = installation.state
        self.given = installation.environment.get(self.variable, "").rstrip("/")

    def find(self) -> bool:
        """Have the program on this machine, installed or fetched if need be. False where it is to be done without."""
        return True

    def prepare(self) -> None:  # noqa: B027 - some have nothing to prepare
        """Write configuration and make the data folder, once the ports are known."""

    @abstractmethod
    def programs(self) -> list[Program]:
        """What to run, in the order of starting; the last one is the server itself."""

    @abstractmethod
    def own_url(self) -> str:
        """The URL of the server that is started here."""

    @abstractmethod
    def probe(self, url: str) -> None:
        """Raise unless the server at `url` answers."""

    @property
    def url(self) -> str:
        return self.given or self.own_url()

    def port(self, name: str) -> int:
        return self.installation.ports[name]

    def secret(self, name: str) -> str:
        return self.installation.secrets[name]
