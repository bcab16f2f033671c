"""kubectl with one kubeconfig."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError

LAST_LINES = 10


@dataclass(frozen=True)
class Kubectl:
    binary: Path
    kubeconfig: Path

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        """Its output. Raises LaunchError with its last lines."""
        command = [str(self.binary), f"--kubeconfig={self.kubeconfig}", *arguments]
        outcome = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if outcome.returncode:
            raise LaunchError(f"kubectl {' '.join(arguments)} failed.", outcome.stderr.splitlines()[-LAST_LINES:])
        return outcome.stdout

    def attempt(self, *arguments: str) -> str:
        """Empty when it fails."""
        try:
            return self(*arguments)
        except LaunchError:
            return ""
