"""Helm: the machine's own, else built once for all clones from its Go module, whose version and hashes k8s/tools/ pins."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError
from launcher.go import Module
from launcher.progress import Progress
from launcher.state import REPOSITORY

BUILT = Module("tools", "Helm", REPOSITORY / "k8s" / "tools", ", or install Helm")
PACKAGE = "helm.sh/helm/v4/cmd/helm"
LAST_LINES = 10


@dataclass(frozen=True)
class Helm:
    binary: Path
    kubeconfig: Path | None = None

    def __call__(self, *arguments: str | Path) -> str:
        """Its output. Raises LaunchError with its last lines."""
        named = [f"--kubeconfig={self.kubeconfig}"] if self.kubeconfig else []
        outcome = subprocess.run([self.binary, *named, *arguments], capture_output=True, text=True, check=False)
        if outcome.returncode:
            raise LaunchError(f"helm {arguments[0]} failed.", outcome.stderr.splitlines()[-LAST_LINES:])
        return outcome.stdout


def is_available() -> bool:
    return bool(shutil.which("helm") or shutil.which("go"))


def find(progress: Progress | None = None) -> Path:
    """Raises LaunchError."""
    if found := shutil.which("helm"):
        return Path(found)
    with BUILT.built([PACKAGE], progress or Progress()) as folder:
        return folder / "helm"
