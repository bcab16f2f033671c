"""Clusters that are not ours: the one that KUBECONFIG names, or a running kind."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launcher.cluster import programs
from launcher.cluster.kubectl import Kubectl
from launcher.errors import LaunchError
from launcher.progress import Progress


@dataclass(frozen=True)
class Theirs:
    kubeconfig: Path
    kind: str
    """Name of a kind cluster; empty for another."""

    def load(self, image: str) -> None:
        """An archive, or the name of one of Docker's images. Raises LaunchError."""
        if not self.kind:
            raise LaunchError(f"The cluster of {self.kubeconfig} pulls its images: push {image} to its registry.")
        _kind("load", "image-archive" if Path(image).is_file() else "docker-image", image, "--name", self.kind)

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(find_kubectl(), self.kubeconfig)


def find_kubectl(progress: Progress | None = None) -> Path:
    """Installed, else built. Raises LaunchError."""
    if installed := shutil.which("kubectl"):
        return Path(installed)
    return programs.build(programs.NODE, progress or Progress()) / "kubectl"


def of_kubeconfig(given: Path) -> Theirs:
    lines = given.read_text().splitlines() if given.is_file() else []
    current = next((line.split(":")[1].strip() for line in lines if line.startswith("current-context:")), "")
    return Theirs(given, current.removeprefix("kind-") if current.startswith("kind-") and shutil.which("kind") else "")


def running_kind(write: Callable[[str, str], Path]) -> Theirs | None:
    """`write` keeps its kubeconfig, as a file of a name and text."""
    names = _kind("get", "clusters").split() if shutil.which("kind") else []
    return Theirs(write("kind.conf", _kind("get", "kubeconfig", "--name", names[0])), names[0]) if names else None


def _kind(*arguments: str) -> str:
    outcome = subprocess.run(["kind", *arguments], capture_output=True, text=True, check=False)
    if outcome.returncode:
        raise LaunchError(f"kind {' '.join(arguments)} failed.", outcome.stderr.splitlines()[-3:])
    return outcome.stdout
