"""The smallest real stack, Redis alone: starting, repairing, failing."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launcher import probes, processes, running
from launcher.errors import LaunchError
from launcher.stack import Stack
from launcher.state import REPOSITORY
from tests.installation import until


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "state", servers=("redis",), services=False, standard_ports=False)
    yield stack
    stack.down(wipe=True)


def test_up_ends_with_a_server_that_is_ready(stack):
    assert stack.up() == ["redis", "redis-cache"]
    probes.redis_ping(stack.url("redis"))
    assert running.readiness(stack) == {"redis": True, "redis-cache": True}


def test_the_server_requires_its_password(stack):
    stack.up()
    port = stack.installation.ports["redis"]
    with pytest.raises(Exception, match=r"HELLO must be called|Authentication required"):
        probes.redis_ping(f"redis://127.0.0.1:{port}/0")


def test_a_second_up_changes_nothing(stack):
    stack.up()
    before = running.pids(stack)
    assert Stack(stack.state.path, servers=("redis",), services=False).up() == []
    assert running.pids(stack) == before


def test_a_second_up_repairs_what_is_down(stack):
    stack.up()
    stack.supervisor.stop(["redis"])
    assert running.readiness(stack) == {"redis": False, "redis-cache": True}
    assert stack.up() == ["redis"]


def test_up_again_after_the_supervisor_was_killed(stack):
    stack.up()
    os.kill(stack.supervisor.pid(), signal.SIGKILL)
    until(lambda: not stack.supervisor.is_running())
    assert stack.up() == ["redis", "redis-cache"]
    probes.redis_ping(stack.url("redis"))


def test_up_without_the_secrets_leaves_all_as_it_is(stack):
    stack.up()
    before = running.pids(stack)
    (stack.state.path / "secrets.json").rename(stack.state.path / "elsewhere")
    with pytest.raises(LaunchError, match="put it back"):
        Stack(stack.state.path, servers=("redis",), services=False).up()
    assert running.pids(stack) == before
    assert not (stack.state.path / "secrets.json").exists()


def test_a_port_taken_while_souk_is_down_is_replaced(stack):
    stack.up()
    port = stack.installation.ports["redis"]
    stack.down()
    with socket.create_server(("127.0.0.1", port)):
        stack.up()
        assert stack.installation.ports["redis"] != port
        probes.redis_ping(stack.url("redis"))


def test_data_survives_down_but_not_wipe(stack):
    stack.up()
    before = (stack.state.path / "redis.conf").read_text(), stack.installation.secrets["redis"]
    stack.down()
    stack.up()
    assert before == ((stack.state.path / "redis.conf").read_text(), stack.installation.secrets["redis"])
    stack.down(wipe=True)
    assert not stack.state.path.exists()


def test_a_failed_program_stops_no_other_and_comes_back_by_itself(tmp_path):
    stack = Stack(tmp_path / "state", servers=("redis", "mongo"), services=False, standard_ports=False)
    try:
        stack.up()
        stack.down()
        # Redis exits at start: its log is invalid.
        manifest = stack.state.data / "redis" / "appendonlydir" / "appendonly.aof.manifest"
        log = stack.state.data / "redis" / "appendonly.aof"
        sound = {file: file.read_bytes() if file.exists() else None for file in (manifest, log)}
        for file in sound:
            file.parent.mkdir(exist_ok=True)
            file.write_text("not a log\n")
        with pytest.raises(LaunchError, match="redis exited at start") as failure:
            stack.up()
        assert failure.value.last_lines
        found = running.readiness(stack)
        assert (found["redis"], found["mongo"]) == (False, True)
        for file, content in sound.items():
            file.unlink() if content is None else file.write_bytes(content)
        until(lambda: all(running.readiness(stack).values()))
    finally:
        stack.down(wipe=True)


def test_all_ends_with_a_killed_starter_if_it_is_bound_to_it(stack):
    program = (
        "import sys; from pathlib import Path; from launcher.stack import Stack\n"
        "stack = Stack(Path(sys.argv[1]), servers=('redis',), services=False, standard_ports=False, bound=True)\n"
        "stack.up(); print('up', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(stack.state.path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout.readline() == b"up\n"
        starter.kill()
    until(lambda: not processes.find(stack.state.token))


def test_status_shows_what_outlived_the_supervisor(stack):
    stack.up()
    before = running.readiness(stack)
    pid = running.statuses(stack)["redis"].pid
    os.kill(stack.supervisor.pid(), signal.SIGKILL)
    until(lambda: not stack.supervisor.is_running())
    assert running.readiness(stack) == before
    assert all(before.values())
    assert (running.statuses(stack)["redis"].state, running.statuses(stack)["redis"].pid) == ("UNSUPERVISED", pid)
    outcome = souk(stack, "status")
    assert outcome.returncode == 1
    assert "unsupervised" in outcome.stdout
    assert "./souk up starts it" in outcome.stderr


def test_a_stopped_supervisor_is_named_and_changes_nothing(stack):
    stack.up()
    before, pid = running.pids(stack), freeze_supervisor(stack)
    try:
        for call in (stack.up, lambda: running.restart(stack, "redis"), lambda: running.readiness(stack)):
            with pytest.raises(LaunchError, match=f"kill -CONT {pid}"):
                call()
        outcome = souk(stack, "status")
        assert (outcome.returncode, outcome.stdout) == (1, "")
        assert len(outcome.stderr.splitlines()) == 1
    finally:
        os.kill(pid, signal.SIGCONT)
    assert running.pids(stack) == before


def test_down_ends_a_stopped_supervisor_too(stack):
    stack.up()
    freeze_supervisor(stack)
    stack.down()
    assert not processes.find(stack.state.token)
    assert stack.up() == ["redis", "redis-cache"]


def freeze_supervisor(stack):
    supervisor = psutil.Process(stack.supervisor.pid())
    supervisor.suspend()
    until(lambda: supervisor.status() == psutil.STATUS_STOPPED)
    return supervisor.pid


def souk(stack, *command):
    return subprocess.run(
        [sys.executable, "-m", "launcher", *command],
        cwd=REPOSITORY,
        env={**os.environ, "SOUK_STATE_DIR": str(stack.state.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_external_server_is_used_and_not_started(tmp_path, stack, monkeypatch):
    stack.up()
    monkeypatch.setenv("SOUK_REDIS_URL", stack.url("redis"))
    guest = Stack(tmp_path / "guest", servers=("redis",), services=False)
    try:
        assert guest.up() == []
        assert guest.url("redis") == stack.url("redis")
    finally:
        guest.down(wipe=True)


def test_an_unavailable_external_server_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SOUK_REDIS_URL", "redis://127.0.0.1:1/0")
    guest = Stack(tmp_path / "guest", servers=("redis",), services=False)
    with pytest.raises(LaunchError, match="SOUK_REDIS_URL is unavailable"):
        guest.up()
    assert not guest.supervisor.is_running()


def test_only_optional_servers_may_be_excluded(stack, monkeypatch):
    monkeypatch.setenv("SOUK_WITHOUT", "redis")
    other = Stack(stack.state.path, servers=("redis",), services=False)
    with pytest.raises(LaunchError, match="may only name consul, prometheus, rabbitmq"):
        other.up()
