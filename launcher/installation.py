"""What all parts of an installation share."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from launcher import ports
from launcher.progress import Progress
from launcher.secrets import Secrets
from launcher.state import StateFolder
from launcher.supervisor import Supervisor

REPLICAS = "replicas.json"
OBSERVED = "observed.json"
MESHED = "meshed.json"


@dataclass
class Installation:
    state: StateFolder
    secrets: Secrets
    supervisor: Supervisor
    progress: Progress
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    ports: dict[str, int] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    """By port's name, those that are not on this machine."""

    cancelled: threading.Event = field(default_factory=threading.Event)

    def address(self, name: str) -> str:
        """host:port."""
        return f"{self.hosts.get(name, '127.0.0.1')}:{self.ports[name]}"

    @property
    def replicas(self) -> dict[str, int]:
        """One if missing."""
        return {name: count for name, count in self.state.read_json(REPLICAS).items() if isinstance(count, int)}

    @replicas.setter
    def replicas(self, counts: Mapping[str, int]) -> None:
        self.state.write_json(REPLICAS, dict(counts))

    @property
    def is_observed(self) -> bool:
        """Whether OBSERVERS run."""
        return bool(self.state.read_json(OBSERVED).get("is_observed"))

    @is_observed.setter
    def is_observed(self, value: bool) -> None:
        self.state.write_json(OBSERVED, {"is_observed": value})

    @property
    def is_meshed(self) -> bool:
        """Whether services call each other through proxies: mesh.py."""
        return bool(self.state.read_json(MESHED).get("is_meshed"))

    @is_meshed.setter
    def is_meshed(self, value: bool) -> None:
        self.state.write_json(MESHED, {"is_meshed": value})

    @classmethod
    def at(cls, path: Path | None, progress: Progress) -> "Installation":
        state = StateFolder(path)
        return cls(state, Secrets(state), Supervisor(state), progress, ports=ports.recorded(state))
