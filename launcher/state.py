"""An installation's state folder (`.souk/`), readable by its owner only."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launcher.errors import LaunchError

REPOSITORY = Path(__file__).resolve().parent.parent

# For root; see `servers/postgres.py`.
SYSTEM_ROOT = Path("/var/lib/souk")

INCOMPLETE = "incomplete"

ROOM_BYTES = 400_000_000
"""Our files (100 MB), plus the free space that RabbitMQ requires."""


class StateFolder:
    def __init__(self, path: Path | None = None) -> None:
        chosen = path or Path(os.environ.get("SOUK_STATE_DIR") or REPOSITORY / ".souk")
        self.path = chosen.absolute()
        self.logs = self.path / "logs"
        self.data = self.path / "data"
        self.programs = self.path / "programs"

    @property
    def token(self) -> str:
        """Marks our processes; survives the loss of the folder."""
        return hashlib.sha256(f"{os.getuid()}:{self.path.resolve()}".encode()).hexdigest()[:32]

    def make(self) -> None:
        """Raises LaunchError for a folder with other files."""
        is_ours = self.programs.exists() or (self.path / "secrets.json").exists()
        if self.path.exists() and not is_ours and any(self.path.iterdir()):
            raise LaunchError(f"{self.path} holds files that are not Souk's: choose an empty folder as SOUK_STATE_DIR.")
        for folder in (self.path, self.programs, self.logs, self.data):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def ensure_room(self, min_bytes: int = ROOM_BYTES) -> None:
        """Raises LaunchError when the disk is too full."""
        free = shutil.disk_usage(self.path).free
        if free < min_bytes:
            raise LaunchError(
                f"{self.path} has {free / 1e6:.0f} MB free and Souk needs {min_bytes / 1e6:.0f}: free some space."
            )

    def write(self, name: str, text: str) -> Path:
        """Atomic, readable by the owner only."""
        target = self.path / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = target.with_name(target.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(target)
        return target

    def write_json(self, name: str, value: Any) -> Path:
        return self.write(name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Empty when missing. Raises LaunchError when invalid."""
        path = self.path / name
        try:
            value = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise LaunchError(f"{path} is broken ({error}): repair it, or put it back from a backup.") from error
        if not isinstance(value, dict):
            raise LaunchError(f"{path} is broken (not a JSON object): repair it, or put it back from a backup.")
        return value

    def existing_data(self) -> Path | None:
        """A file or folder with servers' data, if there is any."""
        cluster = self.system_folder / "postgres"
        if cluster.exists() and any(cluster.iterdir()):
            return cluster
        return next((path for path in self.data.rglob("*") if path.is_file()), None)

    def wipe(self) -> None:
        """Raises OSError for what cannot be deleted."""
        for folder in (self.path, self.system_folder):
            if folder.exists():
                shutil.rmtree(folder.resolve())

    @property
    def system_folder(self) -> Path:
        return SYSTEM_ROOT / self.token[:16]

    @contextmanager
    def incomplete(self) -> Iterator[None]:
        """Until the block has ended well, `expect_complete` raises."""
        self.write(INCOMPLETE, "")
        yield
        (self.path / INCOMPLETE).unlink()

    def expect_complete(self) -> None:
        """Raises LaunchError for data of which a restore has put back only a part."""
        if (self.path / INCOMPLETE).exists():
            raise LaunchError(
                "A restore was interrupted, and a part of the data is missing: ./souk down, then ./souk restore again. "
                f"Or put back what {self.path}/before-… has, and remove {self.path / INCOMPLETE}."
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Raises LaunchError when another command holds it."""
        self.make()
        with open(self.path / "lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LaunchError("Another ./souk command is running here: wait until it has finished.") from None
            yield
