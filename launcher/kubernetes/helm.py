"""Helm: the machine's own, else built once for all clones from its Go module, whose version and hashes k8s/tools/ pins."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError
from launcher.progress import Progress
from launcher.state import REPOSITORY

SOURCES = REPOSITORY / "k8s" / "tools"
MODULE = "helm.sh/helm/v4/cmd/helm"
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
    if not shutil.which("go"):
        raise LaunchError("There is neither Helm nor Go 1.26, which builds it: install one of them.")
    digest = hashlib.sha256(b"".join((SOURCES / name).read_bytes() for name in ("go.mod", "go.sum"))).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "souk" / f"tools-{digest[:16]}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "helm").exists():
            with (progress or Progress()).step("Helm from its Go module: minutes of work at the first time"):
                _build(folder)
    return folder / "helm"


def _build(folder: Path) -> None:
    command = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(folder / "new"), MODULE]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    built = subprocess.run(command, cwd=SOURCES, env=environment, capture_output=True, text=True, check=False)
    if built.returncode:
        raise LaunchError(
            "Go could not build Helm: make sure that its module proxy responds.",
            built.stderr.splitlines()[-LAST_LINES:],
        )
    (folder / "new").replace(folder / "helm")
