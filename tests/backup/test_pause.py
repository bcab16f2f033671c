"""Writers of a MongoDB that stands alone wait for a backup, and not for one that was killed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from secantus import commands
from secantus.server import SecantusDBServer

from launcher.backup.pause import paused
from launcher.errors import LaunchError
from launcher.state import REPOSITORY
from tests.installation import until

AT_WORK = """
import sys
from launcher.backup.pause import paused

with paused(sys.argv[1]):
    print("paused", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def locks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that the server holds. The one of the tests has none of its own."""
    held: list[str] = []

    def lock(*_: object) -> dict[str, object]:
        held.append("lock")
        return {"ok": 1.0}

    def unlock(*_: object) -> dict[str, object]:
        held.pop()
        return {"ok": 1.0}

    monkeypatch.setitem(commands._HANDLERS, "fsync", lock)
    monkeypatch.setitem(commands._HANDLERS, "fsyncUnlock", unlock)
    return held


@pytest.fixture
def url(tmp_path: Path, locks: list[str]) -> Iterator[str]:
    server = SecantusDBServer("127.0.0.1", 0, str(tmp_path / "mongo"), replica_set_name=None)
    server.start()
    yield f"mongodb://127.0.0.1:{server.port}/"
    server.stop()


def test_writers_wait_for_the_block(url: str, locks: list[str]) -> None:
    with paused(url):
        assert locks == ["lock"]
    assert locks == []


def test_a_program_that_ends_at_once_is_an_error_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pymongo.py").write_text('raise SystemExit("This driver does not start.")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    more_than_a_pipe_holds = 1_000_000
    with pytest.raises(LaunchError) as failed, paused("m" * more_than_a_pipe_holds):
        raise AssertionError
    assert "could not be held up" in str(failed.value)
    assert failed.value.last_lines == ("This driver does not start.",)


def test_writers_do_not_wait_for_a_killed_program(url: str, locks: list[str]) -> None:
    command = [sys.executable, "-c", AT_WORK, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as killed:
        assert killed.stdout
        assert killed.stdout.readline()
        assert locks == ["lock"]
        killed.kill()
    until(lambda: locks == [])


def test_a_server_that_cannot_be_paused_is_no_reason_to_go_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(commands._HANDLERS, "fsync", lambda *_: {"ok": 0.0, "errmsg": "not here", "code": 9})
    reached = False
    with pytest.raises(LaunchError, match="held up"), paused(url):
        reached = True
    assert not reached
