"""PostgreSQL at one moment, out of backups and log."""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from launcher.backup import moment, recovery, restore, vault
from launcher.backup.drill import ALONE, alone
from launcher.backup.target import VARIABLE
from launcher.errors import LaunchError
from launcher.servers import Postgres
from launcher.servers.postgres import BACKUP
from launcher.stack import Stack
from tests.backup.conftest import Backed
from tests.installation import until


@pytest.fixture(scope="module")
def backed(installation: Callable[[str], Backed]) -> Backed:
    return installation("recovery")


class Past(NamedTuple):
    """Moments of a table to which a row was added each time."""

    rows: dict[int, datetime]
    """When the table had so many rows."""

    fell_at: datetime
    """When an earlier restore took back what had happened since the last row."""


@pytest.fixture(scope="module")
def past(backed: Backed) -> Past:
    rows: dict[int, datetime] = {}
    add = "INSERT INTO notes SELECT 'a note' RETURNING clock_timestamp()"

    def write() -> None:
        backed.ask(add)
        rows[len(rows) + 1] = backed.ask("SELECT clock_timestamp()").astimezone(UTC)

    backed.ask("CREATE TABLE notes (text text)")
    for begin in (lambda: backed.create(full=True), backed.create, backed.create, backed.write_log):
        write()
        begin()
        write()
    backed.ask("SELECT pg_logical_emit_message(true, 'test', 'x')")
    until(backed.is_received)
    fell_at = datetime.now(UTC)
    # As a restore would: the next era begins with fewer rows.
    backed.stack.supervisor.stop([BACKUP])
    backed.ask(f"SELECT pg_drop_replication_slot('{backed.target.eras()[-1].slot}')", "TRUNCATE notes")
    backed.stack.supervisor.start_program(BACKUP)
    until(lambda: len(backed.target.eras()) == 2 and backed.is_received())
    backed.create()
    return Past(rows, fell_at)


@pytest.fixture
def recovered(backed: Backed, tmp_path: Path) -> Iterator[Callable[[datetime | None], Backed]]:
    """An installation with PostgreSQL as of then."""
    scratch = Stack(tmp_path / "state", servers=["postgres", "mongo"], services=False, standard_ports=False, bound=True)
    scratch.installation.environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    scratch.state.make()

    def recover(at: datetime | None) -> Backed:
        found = moment.find(backed.target, at)
        restore.unpack_secrets(scratch, found, backed.key)
        postgres = scratch.servers["postgres"]
        assert isinstance(postgres, Postgres)
        recovery.recover(postgres, found)
        scratch.up()
        return Backed(scratch, backed.target)

    yield recover
    scratch.down(wipe=True)


@pytest.mark.parametrize("count", [pytest.param(4, marks=pytest.mark.long), 7, pytest.param(8, marks=pytest.mark.long)])
def test_each_moment_has_its_rows(backed, past, recovered, count):
    """After a backup of what changed, within the log, and near its end, in a segment that is partial."""
    assert recovered(past.rows[count]).ask("SELECT count(*) FROM notes") == count


def test_a_moment_after_the_last_change_before_another_era(backed, past, recovered):
    """Nothing was committed after it: the end of the log is its state."""
    assert recovered(past.fell_at).ask("SELECT count(*) FROM notes") == len(past.rows)


def test_the_end_of_the_log(backed, past, recovered):
    backed.ask("INSERT INTO notes SELECT 'the last'")
    until(backed.is_received)
    found = recovered(None)
    assert found.ask("SELECT count(*) FROM notes") == 1
    assert found.ask("SELECT pg_is_in_recovery()") is False


def test_before_the_first_backup_there_is_nothing(backed, past):
    with pytest.raises(LaunchError, match="Reachable"):
        moment.find(backed.target, past.rows[1] - timedelta(hours=1))


def test_secrets_that_are_here_stay_and_missing_ones_come_back(backed, past, tmp_path):
    found = moment.find(backed.target, None)
    scratch = Stack(tmp_path / "here", services=False)
    scratch.state.make()
    scratch.state.write("keys.json", "newer")
    restore.unpack_secrets(scratch, found, backed.key)
    assert (scratch.state.path / "keys.json").read_text() == "newer"
    assert scratch.state.read_json("secrets.json") == backed.stack.state.read_json("secrets.json")


def test_the_secrets_of_another_installation_are_not_mixed_with_ours(backed, past, tmp_path):
    scratch = Stack(tmp_path / "other", services=False)
    scratch.state.make()
    scratch.state.write_json("secrets.json", {"postgres": "another's"})
    with pytest.raises(LaunchError, match="another installation"):
        restore.unpack_secrets(scratch, moment.find(backed.target, None), backed.key)


def test_what_was_there_is_kept_beside_except_what_stands_for_outsiders(backed, past, recovered):
    found = recovered(None)
    state, data = found.stack.state, found.postgres.data
    found.stack.down()
    (state.data / "bank").mkdir()
    (state.data / "bank" / "books").write_text("theirs")
    restore.set_aside(found.stack)
    assert not data.exists()
    assert (state.data / "bank" / "books").read_text() == "theirs"
    assert [path.name for path in state.data.iterdir()] == ["bank"]
    assert next(state.path.glob("before-*/mongo"))


def test_what_an_interrupted_restore_has_left_is_not_opened(tmp_path):
    stack = Stack(tmp_path / "state", servers=[], services=False, standard_ports=False, bound=True)
    stack.state.make()
    with contextlib.suppress(KeyboardInterrupt), stack.state.incomplete():
        raise KeyboardInterrupt
    with pytest.raises(LaunchError, match="restore again"):
        stack.up()
    assert not stack.supervisor.is_running()
    with stack.state.incomplete():
        pass
    stack.state.expect_complete()


def test_external_servers_are_not_restored(tmp_path, monkeypatch):
    monkeypatch.setenv("SOUK_RABBITMQ_URL", "amqp://broker.example")
    with pytest.raises(LaunchError, match="Unset SOUK_RABBITMQ_URL"):
        restore.expect_own_servers(Stack(tmp_path))


def test_a_drill_knows_nothing_of_the_installations_settings(tmp_path, monkeypatch):
    given = dict.fromkeys(("SOUK_RABBITMQ_URL", "SOUK_STRIPE_KEY", "SOUK_SMTP_URL", VARIABLE), "theirs")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with alone():
        scratch = Stack(tmp_path)
        assert {n: v for n, v in scratch.installation.environment.items() if n.startswith("SOUK_")} == ALONE
        assert not any(server.given for server in scratch.servers.values())
    assert {name: os.environ[name] for name in given} == given


def test_a_missing_key_is_named(tmp_path):
    stack = Stack(tmp_path / "state", services=False)
    stack.state.make()
    with pytest.raises(LaunchError, match="SOUK_BACKUP_KEY"):
        vault.key(stack.state, {})
