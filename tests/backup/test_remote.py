"""What is on its way to a bucket while other programs use it, without PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from launcher.backup import wal
from launcher.backup.remote import BucketTarget
from launcher.backup.s3 import Bucket
from launcher.backup.target import Backup, Era
from launcher.errors import LaunchError
from tests import bucket as stand_in

BUCKET = "backups"
BEGAN_AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[stand_in.Store]:
    found = stand_in.Store()
    found.client.create_bucket(Bucket=BUCKET)
    yield found
    found.stop()


@pytest.fixture
def target(store: stand_in.Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BucketTarget:
    stand_in.use(store, monkeypatch)
    found = BucketTarget(Bucket(f"s3://{BUCKET}/{tmp_path.name}"), tmp_path)
    found.make()
    return found


@pytest.fixture
def receiver(target: BucketTarget) -> BucketTarget:
    """Another program's, with the same files."""
    return BucketTarget(Bucket(str(target)), target.path)


@pytest.fixture
def era(target: BucketTarget) -> Era:
    return target.begin_era(BEGAN_AT)


@pytest.fixture
def made(era: Era) -> Backup:
    """Complete but for its description. Needs the log from its first segment on."""
    folder = era.folder / "backups" / "20261129T120000000000Z.unfinished"
    (folder / "postgres").mkdir(parents=True)
    (folder / "postgres" / "backup_manifest").write_text("{}")
    return Backup(folder, "", BEGAN_AT, BEGAN_AT, 1, wal.SEGMENT, 2 * wal.SEGMENT)


@pytest.fixture
def backup(target: BucketTarget, made: Backup) -> Backup:
    return target.keep(made)


def grow(era: Era, number: int) -> Path:
    """A segment begins."""
    path = era.log / f"{wal.name(1, number)}{wal.PARTIAL}"
    path.write_bytes(bytes([number]) * wal.SEGMENT)
    return path


def complete(path: Path) -> Path:
    return path.rename(path.with_suffix(""))


def test_segments_that_are_completed_while_the_log_is_fetched_leave_no_gap(
    target: BucketTarget, receiver: BucketTarget, store: stand_in.Store, era: Era, backup: Backup
) -> None:
    complete(grow(era, 1))
    second = grow(era, 2)
    assert target.pass_on(era) == ""

    def go_on(method: str, path: str) -> None:
        """As the receiver does meanwhile."""
        if method == "GET" and "/log/" in path and path.endswith(".gz") and second.exists():
            complete(second)
            complete(grow(era, 3))
            grow(era, 4)
            assert receiver.pass_on(era) == ""

    with store.failing(go_on), target.at_hand(era, [backup]) as near:
        found = wal.segments(near.eras()[-1].log)
    assert [(segment.number, segment.is_partial) for segment in found] == [(1, False), (2, True)]


def test_a_segment_that_was_completed_since_it_was_listed_is_fetched_complete(
    target: BucketTarget, receiver: BucketTarget, store: stand_in.Store, era: Era, backup: Backup
) -> None:
    complete(grow(era, 1))
    second = grow(era, 2)
    assert target.pass_on(era) == ""
    content = second.read_bytes()
    second.unlink()

    def go_on(method: str, path: str) -> None:
        if method == "GET" and path.endswith(f"{wal.PARTIAL}.gz"):
            second.write_bytes(content)
            complete(second)
            assert receiver.pass_on(era) == ""

    with store.failing(go_on), target.at_hand(era, [backup]) as near:
        assert [segment.is_partial for segment in wal.segments(near.eras()[-1].log)] == [False, False]


def test_a_backup_that_another_program_has_seen_first_is_kept(target: BucketTarget, made: Backup) -> None:
    listed = replace(made, folder=made.folder.with_suffix(""))
    listed.folder.mkdir()
    listed.write()
    assert target.keep(made).name == listed.name
    target.expect_ready()
    assert [each.name for each in target.eras()[-1].backups()] == [listed.name]
    assert not made.folder.exists()


def test_an_era_whose_deletion_was_interrupted_is_deleted_with_the_next(
    target: BucketTarget, store: stand_in.Store, era: Era
) -> None:
    complete(grow(era, 1))
    target.pass_on(era)

    def killed(method: str, path: str) -> int | None:
        return 403 if method == "DELETE" and "/log/" in path else None

    with store.failing(killed), pytest.raises(LaunchError):
        target.drop_era(era)
    target.expect_ready()
    assert [each.name for each in target.eras()] == [era.name]
    target.drop_era(era)
    target.expect_ready()
    assert target.eras() == []
    assert store.keys(BUCKET, f"{target.path.name}/eras/") == []
