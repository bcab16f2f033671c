"""Backups in a bucket.

PostgreSQL's programs know files only, so a folder beside the data (the spool) has what is on its way, and the descriptions of what
the bucket has. There:

    souk-backup.json                                as in a folder
    proof.json
    eras/20261129T120000Z/begun
    eras/20261129T120000Z/log/….gz                  segments; the one that grows, with .partial, every SHIP_SECONDS
    eras/20261129T120000Z/backups/…/files.tar.gz    all files of one
    eras/20261129T120000Z/backups/…/backup_manifest what the next one compares with
    eras/20261129T120000Z/backups/…/backup.json     last: without it, there is no backup
"""

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from launcher.backup import wal
from launcher.backup.s3 import Bucket
from launcher.backup.scratch import held, is_held, sweep, temporary
from launcher.backup.target import MANIFEST, MARKER, PROOF, Backup, Era, Target, write
from launcher.errors import LaunchError

SHIP_SECONDS = 10.0
"""How often the growing segment is sent while it changes: what a lost machine loses at worst, and the time to send it."""

MAX_WAITING_BYTES = 4 * 1024**3
"""Of log that the bucket has not taken. Beyond, PostgreSQL keeps it (see BACKED_UP)."""

ABANDONED_AFTER = timedelta(days=1)
"""What another machine has not described since: longer than a backup takes."""

DOWNLOADS = 8
CHUNK_BYTES = 1024 * 1024

BEGUN = "begun"
DESCRIPTION = "backup.json"
FILES = "files.tar.gz"
ENDING = ".gz"
FETCHED = "fetched-"


class BucketTarget(Target):
    def __init__(self, bucket: Bucket, spool: Path) -> None:
        super().__init__(spool)
        self._bucket = bucket
        self._sent: dict[Path, bytes] = {}
        """Digests of segments that are still here, as they were sent. Their times tell nothing: a clock may be set back."""

        self._partial_sent_at = float("-inf")

    def __str__(self) -> str:
        return self._bucket.url

    def is_ready(self) -> bool:
        return self._bucket.get(MARKER) is not None

    def make(self) -> None:
        if not self.is_ready():
            if next(self._bucket.listed(), None):
                raise LaunchError(f"{self} holds other objects: choose another prefix for backups.")
            self._bucket.put(MARKER, b"{}")
        self.expect_ready()

    def expect_ready(self) -> None:
        """And take over the descriptions of what the bucket has."""
        if (marker := self._bucket.get(MARKER)) is None:
            raise LaunchError(f"{self} has no {MARKER}: make it a place for backups with ./souk backup init.")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_changed(self.path / MARKER, marker)
        if proof := self._bucket.get(PROOF):
            _write_changed(self.path / PROOF, proof)
        # Before the bucket is listed: what begins meanwhile is there first.
        known = [*(self.path / "eras").glob("*"), *(self.path / "eras").glob("*/backups/*Z")]
        keys = {each.key for each in self._bucket.listed("eras/")}
        for key in sorted(keys):
            folder, _, name = key.rpartition("/")
            if name == BEGUN:
                Era(self.path / folder).make()
            elif name == DESCRIPTION:
                self._take_over(key)
        for folder_ in known:
            own = folder_.relative_to(self.path)
            if not keys & {f"{own}/{BEGUN}", f"{own}/{DESCRIPTION}"}:
                shutil.rmtree(folder_, ignore_errors=True)

    def note_proof(self, proof: bytes) -> None:
        self._bucket.put(PROOF, proof)
        super().note_proof(proof)

    def begin_era(self, moment: datetime) -> Era:
        era = self._next_era(moment)
        self._bucket.put(f"{self._key(era)}/{BEGUN}", b"")
        era.make()
        return era

    # Backups.

    def base(self, backup: Backup) -> Path:
        if not (backup.postgres / MANIFEST).exists():
            backup.postgres.mkdir(mode=0o700, exist_ok=True)
            write(backup.postgres / MANIFEST, self._expect(f"{self._key(backup.folder)}/{MANIFEST}"))
        return backup.postgres

    def keep(self, backup: Backup) -> Backup:
        key = self._key(backup.folder.with_suffix(""))
        with (
            self._bucket.writing(f"{key}/{FILES}") as upload,
            gzip.GzipFile(fileobj=upload, mode="wb", compresslevel=1, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            archive.add(backup.folder, arcname=".")
        try:
            self._bucket.put(f"{key}/{MANIFEST}", (backup.postgres / MANIFEST).read_bytes())
            backup = replace(backup, archive=upload.digest, archive_bytes=upload.size)
            backup.write()
            self._bucket.put(f"{key}/{DESCRIPTION}", (backup.folder / DESCRIPTION).read_bytes())
        except BaseException:
            with suppress(LaunchError):
                self._delete(key)
            raise
        shutil.rmtree(backup.folder)
        return Backup.read(self._take_over(f"{key}/{DESCRIPTION}"))

    @contextmanager
    def making(self, era: Era, began_at: datetime) -> Iterator[Path]:
        with super().making(era, began_at) as folder, held(folder):
            yield folder

    @contextmanager
    def at_hand(self, era: Era, backups: Sequence[Backup], as_elsewhere: bool = False) -> Iterator[Target]:
        with temporary(self.path, FETCHED) as folder:
            near = Target(folder)
            shutil.copyfile(self.path / MARKER, near.path / MARKER)
            own = Era(near.path / era.folder.relative_to(self.path))
            own.make()
            chain = [each for each in era.chain(backups[-1]) if each not in backups]
            for backup in [*chain, *backups]:
                self._unpack(backup, own.folder / "backups" / backup.name)
            since = wal.segment_of(backups[0].start)
            if not as_elsewhere:
                self._copy_log(era, own, since)
            self._fetch_log(era, own, since)
            yield near

    # The log.

    def pass_on(self, era: Era, is_last: bool = False) -> str:
        try:
            for each in self.eras():
                self._ship(each, is_over=each.name != era.name, at_once=is_last)
            return ""
        except LaunchError as error:
            if self._waiting_bytes() > MAX_WAITING_BYTES:
                raise
            return str(error)

    def has_log(self, era: Era, timeline: int, until: int) -> bool:
        # The server has begun a new segment in the end.
        name = wal.name(timeline, wal.segment_of(until - 1))
        return any(each.key.endswith(f"{name}{ENDING}") for each in self._bucket.listed(f"{self._key(era)}/log/{name}"))

    # What goes.

    def drop_unfinished(self, era: Era) -> None:
        """This machine's at once. Another's program may be at work: no lock here is seen there."""
        ours = {folder.stem for folder in era.unfinished()}
        before = datetime.now(UTC) - ABANDONED_AFTER

        def is_abandoned(key: str, at: datetime) -> bool:
            return at < before or not ours.isdisjoint(key.split("/"))

        super().drop_unfinished(era)
        sweep(self.path, FETCHED)
        self._bucket.abort_uploads(is_abandoned)
        whole = {backup.name for backup in era.backups()} | {folder.name for folder in era.broken()}
        for each in self._bucket.listed(f"{self._key(era)}/backups/"):
            if each.key.split("/")[3] not in whole and is_abandoned(each.key, each.changed_at):
                self._bucket.delete(each.key)

    def drop(self, backup: Backup) -> None:
        self._delete(self._key(backup.folder))
        super().drop(backup)

    def drop_log(self, era: Era, before: int) -> int:
        old = [key for key, (_, number) in self._log(era).items() if number < before]
        for key in old:
            self._bucket.delete(key)
        return len(old)

    def drop_era(self, era: Era) -> None:
        """Its beginning last: what is left of an interrupted deletion is deleted with the next."""
        begun = f"{self._key(era)}/{BEGUN}"
        for each in self._bucket.listed(f"{self._key(era)}/"):
            if each.key != begun:
                self._bucket.delete(each.key)
        self._bucket.delete(begun)
        super().drop_era(era)

    # --- inside

    def _delete(self, key: str) -> None:
        """A backup, its description first: what is left of an interrupted deletion is none."""
        for name in (DESCRIPTION, MANIFEST, FILES):
            self._bucket.delete(f"{key}/{name}")

    def _mark(self, content: bytes) -> None:
        self._bucket.put(MARKER, content)
        super()._mark(content)

    def _key(self, where: Era | Path) -> str:
        folder = where.folder if isinstance(where, Era) else where
        return folder.relative_to(self.path).as_posix()

    def _take_over(self, key: str) -> Path:
        """A description. Returns its folder, which another program may have made already."""
        path = self.path / key
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write(path, self._expect(key))
        return path.parent

    def _expect(self, key: str) -> bytes:
        if (content := self._bucket.get(key)) is None:
            raise LaunchError(f"{self}: {key} is missing")
        return content

    def _ship(self, era: Era, is_over: bool, at_once: bool) -> None:
        """Nothing is deleted here while a backup is made, which needs the log since it began."""
        segments = wal.segments(era.log)
        is_making = any(map(is_held, era.unfinished()))
        for segment in segments:
            try:
                if not segment.is_partial or is_over or at_once or self._is_due():
                    self._send(segment)
            except FileNotFoundError:
                return  # It is complete now, and has another name. Those after it are for nothing without it.
            if not is_making and (is_over or not segment.is_partial):
                segment.path.unlink()
        self._sent = {path: digest for path, digest in self._sent.items() if path.exists()}

    def _send(self, segment: wal.Segment) -> None:
        """If it has changed. Complete ones do not."""
        if not segment.is_partial and segment.path in self._sent:
            return
        key, content = self._key(segment.path), segment.path.read_bytes()
        if self._sent.get(segment.path) != (digest := hashlib.sha256(content).digest()):
            self._bucket.put(f"{key}{ENDING}", gzip.compress(content, compresslevel=1, mtime=0))
        if segment.is_partial:
            self._partial_sent_at = time.monotonic()
        else:
            self._bucket.delete(f"{key}{wal.PARTIAL}{ENDING}")
        self._sent[segment.path] = digest

    def _is_due(self) -> bool:
        return time.monotonic() - self._partial_sent_at >= SHIP_SECONDS

    def _waiting_bytes(self) -> int:
        """Complete segments are deleted once they are sent."""
        return sum(len(wal.segments(era.log)) for era in self.eras()) * wal.SEGMENT

    def _log(self, era: Era) -> dict[str, tuple[str, int]]:
        """File name and number by key. A partial segment gives way to itself complete."""
        found = {}
        names = {
            each.key.rpartition("/")[2].removesuffix(ENDING): each.key
            for each in self._bucket.listed(f"{self._key(era)}/log/")
        }
        for name, key in names.items():
            number = wal.number_of(name)
            if number is not None and not (name.endswith(wal.PARTIAL) and name.removesuffix(wal.PARTIAL) in names):
                found[key] = name, number
        return found

    def _copy_log(self, era: Era, own: Era, since: int) -> None:
        """What is still here, which may be newer than what the bucket has."""
        for segment in wal.segments(era.log, since=since * wal.SEGMENT) if era.log.exists() else ():
            with suppress(FileNotFoundError):  # It was sent meanwhile, or completed.
                shutil.copyfile(segment.path, own.log / segment.path.name)

    def _fetch_log(self, era: Era, own: Era, since: int) -> None:
        """After what is here, as that goes once the bucket has it."""
        wanted = {
            key: own.log / name
            for key, (name, number) in self._log(era).items()
            if number >= since and not (own.log / name).exists()
        }
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            list(pool.map(self._fetch_segment, wanted, wanted.values()))

    def _fetch_segment(self, key: str, path: Path) -> None:
        try:
            self._fetch(key, path)
        except LaunchError:
            if not path.name.endswith(wal.PARTIAL):
                raise
            # It was completed since it was listed.
            self._fetch(key.replace(wal.PARTIAL, ""), path.with_name(path.name.removesuffix(wal.PARTIAL)))

    def _fetch(self, key: str, path: Path) -> None:
        with (
            _sound(f"{self}: {key}"),
            self._bucket.reading(key) as download,
            gzip.GzipFile(fileobj=io.BufferedReader(download, CHUNK_BYTES)) as unpacked,
            path.open("xb") as file,
        ):
            shutil.copyfileobj(unpacked, file, CHUNK_BYTES)

    def _unpack(self, backup: Backup, folder: Path) -> None:
        """Raises LaunchError if its archive has changed."""
        key = f"{self._key(backup.folder)}/{FILES}"
        before = os.umask(0o077)
        try:
            with _sound(f"{self}: {key}"), self._bucket.reading(key) as download:
                packed = io.BufferedReader(download, CHUNK_BYTES)
                with gzip.GzipFile(fileobj=packed) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
                    archive.extractall(folder, filter="data")
                    while unpacked.read(CHUNK_BYTES):
                        pass
                while packed.read(CHUNK_BYTES):
                    pass
            if download.digest != backup.archive:
                raise LaunchError(f"{self}: {key} has changed")
        finally:
            os.umask(before)
        shutil.copyfile(backup.folder / DESCRIPTION, folder / DESCRIPTION)


@contextmanager
def _sound(name: str) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
        raise LaunchError(f"{name} has changed: {error}") from error


def _write_changed(path: Path, content: bytes) -> None:
    """The file is locked: it is replaced only if it must."""
    if not path.exists() or path.read_bytes() != content:
        write(path, content)
