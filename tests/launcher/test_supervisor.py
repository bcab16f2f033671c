"""A real supervisor with small programs: started, killed, restarted, and never left behind."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launcher import forking, probes, processes
from launcher.errors import LaunchError
from launcher.program import Program
from launcher.state import REPOSITORY, StateFolder
from launcher.supervisor import SOCKET_PATH_LIMIT, Supervisor
from tests.ports import free_port


@pytest.fixture
def port() -> int:
    return free_port()


def web(port: int, name: str = "web") -> Program:
    return Program(
        name, [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], folder=Path("/usr/share")
    )


def serves(port: int) -> Callable[[], None]:
    return lambda: probes.tcp("127.0.0.1", port)


def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_a_running_program_is_left_alone(supervisor, port):
    supervisor.start()
    assert supervisor.ensure(web(port))
    supervisor.wait_until("web", serves(port), 15)
    pid = supervisor.statuses()["web"].pid
    supervisor.start()
    assert not supervisor.ensure(web(port))
    assert supervisor.statuses()["web"].pid == pid


def test_a_changed_program_is_restarted(supervisor, port):
    supervisor.start()
    supervisor.ensure(web(port))
    pid = supervisor.statuses()["web"].pid
    changed = web(port)
    assert supervisor.ensure(Program("web", changed.command, {"COLOUR": "red"}, changed.folder))
    supervisor.wait_until("web", serves(port), 15)
    assert supervisor.statuses()["web"].pid != pid


def test_a_killed_program_comes_back(supervisor, port):
    supervisor.start()
    supervisor.ensure(web(port))
    supervisor.wait_until("web", serves(port), 15)
    # Within its first second an exit counts as a failed start.
    assert eventually(lambda: supervisor.statuses()["web"].state == "RUNNING")
    pid = supervisor.statuses()["web"].pid
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: supervisor.statuses()["web"].pid not in (0, pid))
    supervisor.wait_until("web", serves(port), 15)


def test_children_of_a_killed_program_do_not_keep_its_port(supervisor, port):
    listening = f"import socket, time, os; s = socket.create_server(('127.0.0.1', {port})); os.fork() or time.sleep(99); os.wait()"
    supervisor.start()
    supervisor.ensure(Program("parent", [sys.executable, "-c", listening]))
    supervisor.wait_until("parent", serves(port), 15)
    assert eventually(lambda: supervisor.statuses()["parent"].state == "RUNNING")
    pid = supervisor.statuses()["parent"].pid
    (child,) = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert eventually(lambda: supervisor.statuses()["parent"].pid not in (0, pid))
    supervisor.wait_until("parent", serves(port), 15)


def test_a_killed_supervisor_is_replaced_and_its_orphans_are_ended(supervisor, state, port):
    supervisor.start()
    supervisor.ensure(web(port))
    supervisor.wait_until("web", serves(port), 15)
    os.kill(supervisor.pid(), signal.SIGKILL)
    assert eventually(lambda: not supervisor.is_running())
    assert [orphan.pid for orphan in processes.find(state.token)]
    supervisor.start()
    assert [process.pid for process in processes.find(state.token)] == [supervisor.pid()]
    assert supervisor.ensure(web(port))
    supervisor.wait_until("web", serves(port), 15)


@pytest.mark.parametrize(
    "command",
    [["-c", "raise SystemExit('no such table: souk')"], ["-m", "tests.launcher.seen", "", "no such table: souk"]],
    ids=["executed", "forked"],
)
def test_a_program_that_exits_at_start_is_reported_with_its_last_lines(supervisor, command):
    supervisor.start(forks=True)
    supervisor.ensure(Program("broken", [sys.executable, *command]))
    with pytest.raises(LaunchError, match="broken exited at start") as failure:
        supervisor.wait_until("broken", serves(1), 30)
    assert failure.value.last_lines[-1] == "no such table: souk"


def test_a_program_that_is_not_ready_in_time_is_reported_with_the_reason(supervisor):
    supervisor.start()
    supervisor.ensure(Program("silent", ["sleep", "60"]))
    with pytest.raises(LaunchError, match=r"not ready after 1 s .*refused"):
        supervisor.wait_until("silent", serves(1), 1)


def seen_by(supervisor: Supervisor, state: StateFolder, program: Program) -> dict[str, object]:
    log = state.logs / f"{program.name}.log"
    before = len(log.read_text().splitlines()) if log.exists() else 0
    if not supervisor.ensure(program):
        supervisor.restart(program.name)
    assert eventually(lambda: log.exists() and len(log.read_text().splitlines()) > before, 60)
    return json.loads(log.read_text().splitlines()[-1])


@pytest.mark.skipif(not forking.IS_AVAILABLE, reason="Forks are for Linux.")
def test_a_forked_program_sees_what_its_script_would_show(supervisor, state):
    supervisor.start(forks=True)
    program = Program("seen", [sys.executable, "-m", "tests.launcher.seen", "a b"], {"COLOUR": "'red'"})
    forked = seen_by(supervisor, state, program)
    process = psutil.Process(supervisor.statuses()["seen"].pid)
    assert process.cmdline()[0].strip() == "souk: seen"
    assert processes.programs(state.token)["seen"] == process
    assert forked.pop("shared")
    executed = executed_by(supervisor, state, program)
    assert not executed.pop("shared")
    assert forked == executed
    assert forked["environment"]["COLOUR"] == "'red'"
    assert forked["folder"] == str(REPOSITORY)


def executed_by(supervisor: Supervisor, state: StateFolder, program: Program) -> dict[str, object]:
    """What it sees after a change of what is shared."""
    changed = REPOSITORY / "chassis" / "__init__.py"
    times = changed.stat()
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    try:
        return seen_by(supervisor, state, program)
    finally:
        os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_programs_no_longer_wanted_are_removed(supervisor, state, port):
    supervisor.start()
    supervisor.ensure(web(port))
    supervisor.ensure(Program("old", ["sleep", "60"]))
    supervisor.keep_only(["web"])
    assert set(supervisor.statuses()) == {"web"}
    assert not (state.programs / "old.conf").exists()


def test_nothing_is_left_after_shutting_down(supervisor, state, port):
    supervisor.start()
    supervisor.ensure(web(port))
    supervisor.shut_down()
    assert processes.find(state.token) == []
    assert not supervisor.is_running()


def test_a_deep_folder_gets_a_socket_elsewhere(tmp_path):
    deep = StateFolder(tmp_path / ("folder" * 10) / ("folder" * 10))
    deep.make()
    supervisor = Supervisor(deep)
    assert len(str(supervisor.socket)) <= SOCKET_PATH_LIMIT
    assert supervisor.socket.parent.stat().st_mode & 0o077 == 0
    try:
        supervisor.start()
        assert supervisor.is_running()
    finally:
        supervisor.shut_down()
        supervisor.socket.parent.rmdir()
