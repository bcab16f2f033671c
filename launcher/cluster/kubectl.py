"""kubectl with one kubeconfig, or that of the environment."""

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from launcher.errors import LaunchError

LAST_LINES = 10


@dataclass(frozen=True)
class Kubectl:
    binary: Path
    kubeconfig: Path | None = None
    namespace: str = ""
    """Empty for the kubeconfig's own."""

    def of(self, namespace: str) -> "Kubectl":
        return replace(self, namespace=namespace)

    @property
    def command(self) -> list[str]:
        chosen = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        named = [f"--namespace={self.namespace}"] if self.namespace else []
        return [str(self.binary), *chosen, *named]

    def __call__(self, *arguments: str, given: str | None = None) -> str:
        """Its output. Raises LaunchError with its last lines."""
        command = [*self.command, *arguments]
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
