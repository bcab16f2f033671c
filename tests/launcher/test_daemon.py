"""The supervisor on a full disk: its logs stop, its programs go on, and what could not start comes back by itself."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launcher.program import LOG_BYTES, Program
from launcher.state import StateFolder
from launcher.supervisor import Supervisor
from tests.installation import until
from tests.small_disk import fill, small_disk

ATTEMPTS = 3


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=40) as folder:
        yield folder


def test_the_supervisor_survives_a_full_disk(disk: Path) -> None:
    state = StateFolder(disk / "state")
    state.make()
    supervisor = Supervisor(state)
    # More than a log that is rotated leaves.
    needy = Program("needy", ["sh", "-c", f"head -c {4 * LOG_BYTES} /dev/zero >{disk}/data && exec sleep 600"])
    # Enough for a rotation, which fails.
    talkative = Program("talkative", ["sh", "-c", f"yes a line of its log | head -c {LOG_BYTES}; exec sleep 600"])

    def state_of(program: str) -> str:
        return supervisor.statuses()[program].state

    try:
        supervisor.start()
        supervisor.ensure(talkative)
        supervisor.ensure(needy)
        supervisor.stop(["needy"])
        # What it wrote, if it came that far, would give its room back at the next start.
        (disk / "data").unlink(missing_ok=True)
        pid = supervisor.pid()
        assert pid is not None
        ballast = fill(disk)
        for _ in range(ATTEMPTS):
            supervisor.restart("talkative")
            until(lambda: state_of("talkative") == "RUNNING")
        supervisor.start_program("needy")
        until(lambda: state_of("needy") == "BACKOFF")
        before, began = used_seconds(pid), time.monotonic()
        starts: set[int] = set()

        def attempts() -> int:
            starts.add(supervisor.statuses()["needy"].started_at)
            return len(starts)

        until(lambda: attempts() > ATTEMPTS)
        assert used_seconds(pid) - before < (time.monotonic() - began) / 2
        assert supervisor.pid() == pid
        ballast.unlink()
        until(lambda: state_of("needy") == "RUNNING")
        assert supervisor.pid() == pid
    finally:
        supervisor.shut_down()


def used_seconds(pid: int) -> float:
    """Of a processor."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
