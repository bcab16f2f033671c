"""The smallest real stack, Redis alone: starting, repairing, failing."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import probes, processes, running
from launcher.errors import LaunchError
from launcher.stack import Stack
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


def test_a_failed_start_leaves_nothing_behind(stack):
    stack.up()
    stack.down()
    # Redis exits at start: its log is invalid.
    (stack.state.data / "redis" / "appendonlydir").mkdir(parents=True, exist_ok=True)
    stack.state.write("data/redis/appendonlydir/appendonly.aof.manifest", "not a manifest\n")
    stack.state.write("data/redis/appendonly.aof", "not a log\n")
    with pytest.raises(LaunchError, match="redis exited at start") as failure:
        stack.up()
    assert failure.value.last_lines
    assert not stack.supervisor.is_running()
    assert processes.find(stack.state.token) == []


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
