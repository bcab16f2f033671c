"""PostgreSQL's log in the folder of backups, and what happens while one of the two is away."""

import signal
from collections.abc import Callable

import psutil
import pytest
import urllib3

from launcher.backup import verify, wal
from launcher.errors import LaunchError
from launcher.servers.postgres import BACKUP, tools
from tests.backup.conftest import Backed
from tests.installation import until


@pytest.fixture(scope="module")
def backed(installation: Callable[[str], Backed]) -> Backed:
    return installation("log")


def is_ready(backed: Backed) -> bool:
    port = backed.stack.installation.ports[BACKUP]
    return urllib3.request("GET", f"http://127.0.0.1:{port}/health/ready").status == 200


def faults(backed: Backed, position: int) -> list[str]:
    """In the log from its beginning to this position."""
    log = backed.target.eras()[-1].log
    start = wal.segments(log)[0].end - wal.SEGMENT
    return wal.faults(tools(), log, 1, start, position, backed.target.system)


def test_it_is_received_while_it_is_written(backed: Backed) -> None:
    backed.ask("CREATE TABLE IF NOT EXISTS notes (text text)", "INSERT INTO notes VALUES ('now')")
    position = wal.position_of(backed.ask("SELECT pg_current_wal_flush_lsn()"))
    until(lambda: faults(backed, position) == [])
    until(lambda: is_ready(backed))


def test_it_goes_on_where_it_stopped_when_the_folder_is_back(backed: Backed) -> None:
    backup, away = backed.create(full=True), backed.target.path.with_name("away")
    backed.target.path.rename(away)
    until(lambda: not is_ready(backed))
    for _ in range(3):
        backed.ask("SELECT pg_logical_emit_message(true, 'test', 'x'), pg_switch_wal()")
    with pytest.raises(LaunchError, match="mount it"):
        backed.target.expect_ready()
    assert not backed.target.path.exists(), "nobody may write to the disk below"
    away.rename(backed.target.path)
    until(lambda: backed.is_received() and is_ready(backed))
    [era] = backed.target.eras()
    position = wal.position_of(backed.ask("SELECT pg_current_wal_flush_lsn()"))
    assert wal.faults(tools(), era.log, 1, backup.start, position, backed.target.system) == []


def test_a_killed_receiver_leaves_none_behind_that_would_keep_the_next_one_out(backed: Backed) -> None:
    process = psutil.Process(backed.stack.supervisor.statuses()[BACKUP].pid)
    [child] = until(lambda: [each for each in process.children(recursive=True) if each.name() == "pg_receivewal"])
    process.send_signal(signal.SIGKILL)
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    until(backed.is_received)


def test_where_the_log_is_lost_an_era_begins_that_needs_a_full_backup(backed: Backed) -> None:
    backed.create(full=True)
    [era] = backed.target.eras()
    backed.stack.supervisor.stop([BACKUP])
    # As when the folder was away for longer than the log is kept.
    backed.ask(f"SELECT pg_drop_replication_slot('{era.slot}')")
    with pytest.raises(LaunchError, match="does not receive"):
        backed.create()
    backed.stack.supervisor.start_program(BACKUP)
    until(lambda: len(backed.target.eras()) == 2 and backed.is_received())
    assert backed.create().parent == ""
    assert backed.create().parent != ""
    assert backed.ask("SELECT count(*) FROM pg_replication_slots") == 1


def test_a_segment_that_was_not_made_to_its_end_is_received_anew(backed: Backed) -> None:
    """On a full disk, or killed, PostgreSQL's receiver leaves one short, and refuses to go on with it."""
    backup = backed.create(full=True)
    era = backed.target.eras()[-1]
    until(lambda: wal.segments(era.log)[-1].is_partial)
    backed.stack.supervisor.stop([BACKUP])
    growing = wal.segments(era.log)[-1]
    growing.path.write_bytes(bytes(wal.SEGMENT // 2))
    position = wal.segment_of(backup.end - 1)
    assert [segment.number for segment in wal.segments(era.log, since=backup.start)] == [position]
    assert verify.faults(backed.target, era, backup, backed.key) == []
    backed.stack.supervisor.start_program(BACKUP)
    until(backed.is_received)
    assert wal.segments(era.log)[-1].path == growing.path
