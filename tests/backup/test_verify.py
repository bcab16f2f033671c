"""A backup that could not be restored is found out before it is needed."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.backup import vault, verify, wal
from launcher.backup.create import SECRETS
from launcher.backup.prune import prune
from launcher.backup.target import Backup, Era
from launcher.servers.postgres import tools
from tests.backup.conftest import Backed, only_files


@pytest.fixture(scope="module")
def backed(installation: Callable[[str], Backed]) -> Backed:
    """With a full backup, one of what changed, and four segments of log, the last of them partial."""
    found = installation("verify")
    found.create(full=True)
    found.write_log()
    found.create()
    found.write_log(2)
    return found


@pytest.fixture
def era(backed: Backed) -> Era:
    return backed.target.eras()[-1]


@pytest.fixture
def backup(backed: Backed, era: Era) -> Backup:
    """The last one."""
    return era.backups()[-1]


@pytest.fixture
def damage() -> Iterator[Callable[..., None]]:
    """Replaces, cuts or removes a file until the test is over."""
    sound: dict[Path, bytes] = {}

    def change(path: Path, content: bytes | None) -> None:
        sound.setdefault(path, path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)

    yield change
    for path, content in sound.items():
        path.write_bytes(content)


def faults(backed: Backed, era: Era, backup: Backup) -> list[str]:
    return verify.faults(backed.target, era, backup, backed.key)


def one_of(folder: Path, ending: str) -> Path:
    return max(
        (path for path in only_files(folder) if str(path).endswith(ending)), key=lambda path: path.stat().st_size
    )


@pytest.mark.parametrize("which", ["PG_VERSION", "/postgres/backup_manifest", SECRETS])
@pytest.mark.parametrize("how", ["missing", "changed"])
def test_a_file_is_missing_or_changed(backed, era, backup, damage, which, how):
    path = one_of(backup.folder, which)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    damage(path, None if how == "missing" else bytes(content))
    assert str(path) in faults(backed, era, backup)[0]


def test_a_file_of_the_backup_that_it_builds_on_has_changed(backed, era, backup, damage):
    path = one_of(era.backups()[0].folder, "PG_VERSION")
    damage(path, b"17\n")
    [fault] = faults(backed, era, backup)
    assert fault == f"{path} has changed"


def test_the_backup_that_it_builds_on_is_gone(backed, era, backup, damage):
    damage(era.backups()[0].folder / "backup.json", None)
    [fault] = faults(backed, era, backup)
    assert "which is missing" in fault


def test_another_key(backed, era, backup):
    [fault] = verify.faults(backed.target, era, backup, vault.Fernet.generate_key().decode())
    assert "another key" in fault


@pytest.fixture
def log(era: Era, backup: Backup) -> list[wal.Segment]:
    """The backup's, complete segments first; the first has its start, the last grows."""
    found = [each for each in wal.segments(era.log) if each.number >= wal.segment_of(backup.start)]
    assert len(found) >= 3
    assert [each.is_partial for each in found] == [False] * (len(found) - 1) + [True]
    return found


def test_the_log_begins_too_late(backed, era, backup, log, damage):
    damage(log[0].path, None)
    [fault] = faults(backed, era, backup)
    assert "does not begin" in fault


def test_the_log_has_a_gap(backed, era, backup, log, damage):
    damage(log[1].path, None)
    [fault] = faults(backed, era, backup)
    assert fault == f"the log has a gap between {log[0].name} and {log[2].name}"


def test_a_segment_is_cut_off(backed, era, backup, log, damage):
    damage(log[1].path, log[1].path.read_bytes()[:-1_000])
    assert f"{log[1].name} has" in faults(backed, era, backup)[0]


def test_a_byte_within_a_segment_has_changed(backed, era, backup, log, damage):
    content = bytearray(log[1].path.read_bytes())
    content[content.index(b"a message")] ^= 1
    damage(log[1].path, bytes(content))
    [fault] = faults(backed, era, backup)
    assert "incorrect resource manager data checksum" in fault


def test_the_rest_of_a_segment_was_never_written(backed, era, backup, log, damage):
    content = log[1].path.read_bytes()
    written = content.index(b"a message")
    damage(log[1].path, content[:written] + bytes(len(content) - written))
    [fault] = faults(backed, era, backup)
    assert "the log cannot be read" in fault


def test_a_segment_that_stayed_partial_though_the_log_goes_on(backed, era, backup, log, damage):
    content = log[1].path.read_bytes()
    damage(log[1].path, None)
    partial = log[1].path.with_name(log[1].name + wal.PARTIAL)
    partial.write_bytes(content)
    try:
        [fault] = faults(backed, era, backup)
        assert "was never completed" in fault
    finally:
        partial.unlink()


def test_a_segment_of_another_installation(backed, era, backup, log, damage):
    content = bytearray(log[1].path.read_bytes())
    content[24:32] = os.urandom(8)
    damage(log[1].path, bytes(content))
    [fault] = faults(backed, era, backup)
    assert "another installation's" in fault


def test_the_log_ends_before_the_backup_does(backed, era, backup, log, damage):
    for segment in log[1:]:
        damage(segment.path, None)
    [fault] = wal.faults(tools(), era.log, 1, backup.start, log[1].end, backed.target.system)
    assert "the log cannot be read" in fault


def test_pruning_keeps_what_the_last_full_backup_needs(backed, era):
    full = backed.create(full=True)
    changes = backed.create()
    pruned = prune(backed.target, keep=1)
    assert (pruned.backups, pruned.segments > 0) == (2, True)
    assert [each.name for each in era.backups()] == [full.name, changes.name]
    assert faults(backed, era, changes) == []
    assert wal.segments(era.log)[0].number == wal.segment_of(full.start)
    assert json.loads((full.folder / "backup.json").read_text())["parent"] == ""
