"""The supervisor on a full disk: its logs stop, its programs go on, and what could not start comes back by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.program import Program
from launcher.state import StateFolder
from launcher.supervisor import Supervisor
from tests.installation import until
from tests.small_disk import fill, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", megabytes=8) as folder:
        yield folder


# Its program writes as fast as it can, and so needs a core of its own.
@pytest.mark.long
def test_the_supervisor_survives_a_full_disk(disk: Path) -> None:
    state = StateFolder(disk / "state")
    state.make()
    supervisor = Supervisor(state)
    needy = Program("needy", ["sh", "-c", f"echo a line of data >{disk}/data && exec sleep 600"])
    talkative = Program("talkative", ["sh", "-c", "while :; do echo a line of its log; done"])

    def state_of(program: str) -> str:
        return supervisor.statuses()[program].state

    try:
        supervisor.start()
        supervisor.ensure(talkative)
        supervisor.ensure(needy)
        supervisor.stop(["needy"])
        pid = supervisor.pid()
        assert pid is not None
        ballast = fill(disk)
        for _ in range(3):
            supervisor.restart("talkative")
            until(lambda: state_of("talkative") == "RUNNING")
        supervisor.start_program("needy")
        until(lambda: state_of("needy") == "BACKOFF")
        assert supervisor.pid() == pid
        ballast.unlink()
        until(lambda: state_of("needy") == "RUNNING")
        assert supervisor.pid() == pid
    finally:
        supervisor.shut_down()
