"""A supervised program."""

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher import forking
from launcher.state import REPOSITORY, StateFolder

LOG_BYTES = 5_000_000
"""Per log file; one old file is kept."""


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = REPOSITORY
    reads: Sequence[Path] = ()
    """A change of one restarts the program."""

    stop_signal: str = "TERM"
    stop_seconds: int = 15
    """Before it is killed."""

    @property
    def module(self) -> str:
        """Of a program that can be forked."""
        is_ours = [*self.command[:2], self.folder] == [sys.executable, "-m", REPOSITORY]
        return str(self.command[2]) if is_ours else ""

    def script(self) -> str:
        """Also for running it by hand."""
        exports = [f"export {name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        command = shlex.join(str(part) for part in self.command)
        return "\n".join(
            ["#!/bin/sh", f"cd {shlex.quote(str(self.folder))} || exit 1", *exports, f"exec {command}", ""]
        )

    def section(self, state: StateFolder) -> str:
        """Its digest covers the script and the files read."""
        return f"""[program:{self.name}]
command=/bin/sh {shlex.quote(_escaped(state.programs / self.name))}
environment=SOUK_PROGRAM="{self._digest()}"
autostart=false
autorestart=true
startsecs=1
startretries=30
stopsignal={self.stop_signal}
stopwaitsecs={self.stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(state.logs / self.name)}.log
stdout_logfile_maxbytes={LOG_BYTES}
stdout_logfile_backups=1
"""

    def write(self, state: StateFolder) -> None:
        script = state.write(f"programs/{self.name}", self.script())
        if self.module:
            about = {"name": self.name, "module": self.module, "arguments": [str(part) for part in self.command[3:]]}
            place = {"folder": str(self.folder), "environment": dict(self.environment)}
            state.write_json(f"programs/{forking.description(script).name}", about | place)
        state.write(f"programs/{self.name}.conf", self.section(state))

    def _digest(self) -> str:
        parts = [self.script().encode(), *(path.read_bytes() for path in self.reads)]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _escaped(path: Path) -> str:
    # The supervisor expands %(name)s.
    return str(path).replace("%", "%%")
