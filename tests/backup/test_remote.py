"""What is on its way to a bucket while other programs use it, without PostgreSQL."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from launcher.backup import remote, wal
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


def grow(era: Era, number: int, size: int = wal.SEGMENT) -> Path:
    """A segment begins."""
    path = era.log / f"{wal.name(1, number)}{wal.PARTIAL}"
    path.write_bytes(bytes([number]) * size)
    return path


def sent(store: stand_in.Store) -> list[str]:
    """Names of segments that the bucket was given."""
    return [path.rpartition("/")[2] for method, path in store.requests if method == "PUT" and "/log/" in path]


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


def test_a_killed_backup_keeps_no_log_here(target: BucketTarget, era: Era) -> None:
    """One that is being made does, as it needs the log since it began."""
    with target.making(era, BEGAN_AT) as folder:
        complete(grow(era, 1))
        target.pass_on(era)
        assert [segment.number for segment in wal.segments(era.log)] == [1]
        assert folder in era.unfinished()
    assert era.unfinished() == [folder]
    target.pass_on(era)
    assert wal.segments(era.log) == []


def test_nothing_is_remembered_of_segments_that_are_gone(target: BucketTarget, era: Era, store: stand_in.Store) -> None:
    with target.making(era, BEGAN_AT):
        for number in (1, 2, 3):
            complete(grow(era, number))
            target.pass_on(era)
        assert len(sent(store)) == 3
    target.pass_on(era)
    assert len(sent(store)) == 3
    assert target._sent == {}


def test_the_growing_segment_is_sent_when_it_has_changed_whatever_the_clock_says(
    target: BucketTarget, era: Era, store: stand_in.Store
) -> None:
    growing = grow(era, 1)
    target.pass_on(era, is_last=True)
    target.pass_on(era, is_last=True)
    assert len(sent(store)) == 1
    growing.write_bytes(b"more".ljust(wal.SEGMENT, b"\0"))
    os.utime(growing, (0, 0))
    target.pass_on(era, is_last=True)
    assert len(sent(store)) == 2


def test_a_segment_without_its_size_is_not_sent(target: BucketTarget, era: Era, store: stand_in.Store) -> None:
    """The receiver makes it as long as it has to be before anything is in it."""
    path = grow(era, 0, wal.SEGMENT // 2)
    target.pass_on(era, is_last=True)
    assert sent(store) == []
    path.write_bytes(bytes(wal.SEGMENT))
    target.pass_on(era, is_last=True)
    assert len(sent(store)) == 1


def test_what_killed_programs_fetched_goes_with_the_next_backup(
    target: BucketTarget, era: Era, backup: Backup, store: stand_in.Store
) -> None:
    (left := target.path / "fetched-1").mkdir()
    complete(grow(era, 1))
    target.pass_on(era)
    with target.at_hand(era, [backup]) as near:
        assert not left.exists()
        target.drop_unfinished(era)
        assert near.path.exists()
    left.mkdir()
    target.drop_unfinished(era)
    assert [*target.path.glob("fetched-*")] == []


def test_what_cannot_be_described_does_not_stay(target: BucketTarget, made: Backup, store: stand_in.Store) -> None:
    def full(method: str, path: str) -> int | None:
        return 403 if method == "PUT" and "/backup.json" in path else None

    with store.failing(full), pytest.raises(LaunchError):
        target.keep(made)
    assert [key for key in store.keys(BUCKET, f"{target.path.name}/eras/") if "/backups/" in key] == []


def test_a_backup_that_another_machine_is_making_is_no_remnant(
    target: BucketTarget, era: Era, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine's `prune` does not see the lock of another's `create`."""
    bucket = Bucket(str(target))
    theirs, ours = (f"eras/{era.name}/backups/20261129T1{hour}0000000000Z" for hour in (3, 4))
    for name in (theirs, ours):
        bucket.put(f"{name}/files.tar.gz", b"")
    (target.path / f"{ours}.unfinished").mkdir()
    target.drop_unfinished(era)
    assert [each.key for each in bucket.listed("eras/") if "/backups/" in each.key] == [f"{theirs}/files.tar.gz"]
    monkeypatch.setattr(remote, "ABANDONED_AFTER", timedelta())
    target.drop_unfinished(era)
    assert [each.key for each in bucket.listed("eras/") if "/backups/" in each.key] == []


def test_a_drill_sees_only_what_would_be_left(target: BucketTarget, era: Era, backup: Backup) -> None:
    complete(grow(era, 1))
    target.pass_on(era)
    complete(grow(era, 2))
    for as_elsewhere, numbers in ((False, [1, 2]), (True, [1])):
        with target.at_hand(era, [backup], as_elsewhere) as near:
            assert [each.number for each in wal.segments(near.eras()[-1].log)] == numbers


def test_a_clock_that_was_set_back_changes_no_order(target: BucketTarget, era: Era, backup: Backup) -> None:
    earlier = BEGAN_AT - timedelta(days=1)
    assert target.begin_era(earlier).name > era.name
    with target.making(era, earlier) as folder:
        assert folder.name > backup.name
