"""The folder of backups, SOUK_BACKUP_DIR. (`remote.py`: a bucket instead.)

    souk-backup.json                 marks it: a folder without is not mounted, and is left alone
    eras/20261129T120000Z/log/       PostgreSQL's write-ahead log since then, without a gap
    eras/20261129T120000Z/backups/   what that log is applied to

An era ends when its log does: with a restore, or when PostgreSQL could not keep the log until the folder was back.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from launcher.backup import wal
from launcher.errors import LaunchError

MARKER = "souk-backup.json"
PROOF = "proof.json"
MANIFEST = "backup_manifest"
"""PostgreSQL's, of its copy's files."""
UNFINISHED = ".unfinished"
VARIABLE = "SOUK_BACKUP_DIR"

_STAMP = "%Y%m%dT%H%M%S%fZ"


def stamp(moment: datetime) -> str:
    """A folder's name; names sort by time."""
    return moment.strftime(_STAMP)


def stamp_after(names: Iterable[str], moment: datetime) -> str:
    """Sorts after those names, even if the clock was set back."""
    return max([stamp(moment), *(stamp(_moment(name) + timedelta(microseconds=1)) for name in names)])


@dataclass(frozen=True)
class Backup:
    """One that is complete. Its databases need the log from `start` on, and are whole at `end`."""

    folder: Path
    parent: str
    """Name of the backup whose changes it has; empty for a full one."""

    began_at: datetime
    """Documents are as of this moment; PostgreSQL as of `ended_at`, and later with the log."""

    ended_at: datetime
    timeline: int
    start: int
    end: int
    """Positions in the log."""

    digests: dict[str, str] = field(default_factory=dict)
    """SHA-256 by path, of all but PostgreSQL's files, which have a manifest of their own."""

    archive: str = ""
    archive_bytes: int = 0
    """In a bucket: SHA-256 and size of all its files in one."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    def megabytes(self) -> int:
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return round((self.archive_bytes or sum(path.stat().st_size for path in files)) / 1e6)

    def write(self) -> None:
        values = asdict(self) | {"began_at": self.began_at.isoformat(), "ended_at": self.ended_at.isoformat()}
        del values["folder"]
        write(self.folder / "backup.json", json.dumps(values, indent=2).encode())

    @classmethod
    def read(cls, folder: Path) -> "Backup":
        values = json.loads((folder / "backup.json").read_text())
        moments = {name: datetime.fromisoformat(values[name]) for name in ("began_at", "ended_at")}
        return cls(**{**values, **moments, "folder": folder})


class Era:
    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def began_at(self) -> datetime:
        return _moment(self.name)

    @property
    def slot(self) -> str:
        """What keeps its log in PostgreSQL until it is here."""
        return f"souk_backup_{self.name.lower()}"

    def make(self) -> None:
        for folder in (self.log, self.folder / "backups"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.folder.parent, self.folder):
            folder.chmod(0o700)

    def unfinished(self) -> list[Path]:
        """Folders of backups that are being made, or were when their program was killed."""
        return sorted((self.folder / "backups").glob(f"*{UNFINISHED}"))

    def backups(self) -> list[Backup]:
        """Oldest first, without those whose description is broken."""
        return [found for folder in self._folders() if (found := _read(folder)) is not None]

    def broken(self) -> list[Path]:
        """Folders of backups whose description is broken."""
        return [folder for folder in self._folders() if _read(folder) is None]

    def chain(self, backup: Backup) -> list[Backup]:
        """The full backup, then the increments up to this one. Raises LaunchError for a missing one."""
        by_name = {each.name: each for each in self.backups()}
        chain = [backup]
        while parent := chain[0].parent:
            if parent not in by_name:
                raise LaunchError(f"{chain[0].folder} needs the backup {parent}, which is missing.")
            chain.insert(0, by_name[parent])
        return chain

    def _folders(self) -> list[Path]:
        found = sorted((self.folder / "backups").glob("*"))
        return [folder for folder in found if folder.is_dir() and folder.suffix != UNFINISHED]


class Target:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        """Where it is, for people."""
        return str(self.path)

    def is_ready(self) -> bool:
        return (self.path / MARKER).is_file()

    def expect_ready(self) -> None:
        """Raises LaunchError unless it is there, and marked."""
        if not self.is_ready():
            raise LaunchError(
                f"{self} has no {MARKER}: mount it, or make it a folder for backups with ./souk backup init."
            )

    def make(self) -> None:
        """Raises LaunchError for a folder with other files."""
        if not self.is_ready():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise LaunchError(f"{self} holds other files: choose an empty folder for backups.")
            self.path.chmod(0o700)
            write(self.path / MARKER, b"{}")

    def claim(self, system: str) -> None:
        """For the PostgreSQL cluster with this identifier. Raises LaunchError if it is another's."""
        owner = self._marker().get("system", system)
        if owner != system:
            raise LaunchError(
                f"{self} has backups of another installation: ./souk restore puts them back; or choose an empty folder."
            )
        if not self._marker():
            self._mark(json.dumps({"system": system}).encode())

    @property
    def system(self) -> str:
        """Empty before the first era."""
        return str(self._marker().get("system", ""))

    def proven_at(self) -> float:
        """When a restore was last proved right, in Unix time; 0 for never."""
        try:
            at: str = json.loads((self.path / PROOF).read_text())["at"]
            return datetime.fromisoformat(at).timestamp()
        except (FileNotFoundError, ValueError, KeyError):
            return 0

    def note_proof(self, proof: bytes) -> None:
        write(self.path / PROOF, proof)

    def eras(self) -> list[Era]:
        """Oldest first."""
        return [Era(folder) for folder in sorted((self.path / "eras").glob("*")) if folder.is_dir()]

    def begin_era(self, moment: datetime) -> Era:
        era = self._next_era(moment)
        era.make()
        return era

    def base(self, backup: Backup) -> Path:
        """PostgreSQL's copy, or its manifest at least."""
        return backup.postgres

    def keep(self, backup: Backup) -> Backup:
        """One that is complete but for its description."""
        backup.write()
        finished = backup.folder.rename(backup.folder.with_suffix(""))
        sync_folder(finished.parent)
        return Backup.read(finished)

    def pass_on(self, era: Era, is_last: bool = False) -> str:
        """What was received of the log. Returns why it cannot be; raises LaunchError if no more may be received."""
        if not self.is_ready():
            raise LaunchError(f"{self} is gone.")
        return ""

    def has_log(self, era: Era, timeline: int, until: int) -> bool:
        """Whether all that was received is where it should be, to this position."""
        return True

    @contextmanager
    def at_hand(self, era: Era, backups: Sequence[Backup], as_elsewhere: bool = False) -> Iterator["Target"]:
        """A folder with these, those that they build on, and the log since the first of these.

        as_elsewhere: without what another machine would not see.
        """
        yield self

    @contextmanager
    def making(self, era: Era, began_at: datetime) -> Iterator[Path]:
        """A folder for a backup, which is gone if the block raises."""
        name = stamp_after((backup.name for backup in era.backups()), began_at)
        folder = era.folder / "backups" / f"{name}{UNFINISHED}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def drop_unfinished(self, era: Era) -> None:
        for unfinished in era.unfinished():
            shutil.rmtree(unfinished)

    def drop(self, backup: Backup) -> None:
        shutil.rmtree(backup.folder.rename(backup.folder.with_name(f"{backup.name}{UNFINISHED}")))

    def drop_log(self, era: Era, before: int) -> int:
        """Segments with a lower number. Returns how many."""
        old = [segment for segment in wal.segments(era.log) if segment.number < before]
        for segment in old:
            segment.path.unlink()
        return len(old)

    def drop_era(self, era: Era) -> None:
        shutil.rmtree(era.folder)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Raises LaunchError when another command holds it."""
        # For NFS it has to be open for writing.
        with open(self.path / MARKER, "r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LaunchError(f"Another ./souk command is using {self}: wait until it has finished.") from None
            yield

    def _next_era(self, moment: datetime) -> Era:
        return Era(self.path / "eras" / stamp_after((era.name for era in self.eras()), moment))

    def _mark(self, content: bytes) -> None:
        write(self.path / MARKER, content)

    def _marker(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.path / MARKER).read_text())
        except (OSError, ValueError) as error:
            raise LaunchError(f"{self.path / MARKER} cannot be read: {error}") from error
        return found


def _moment(name: str) -> datetime:
    return datetime.strptime(name, _STAMP).replace(tzinfo=UTC)


def _read(folder: Path) -> Backup | None:
    try:
        return Backup.read(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, content: bytes) -> None:
    """On the disk, whole or not at all, for the owner only."""
    fresh = path.with_name(f"{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """New and renamed entries survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
