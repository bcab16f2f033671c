"""`python -m services.sidecar` with a real Consul: small, and out of the catalogue once it is stopped."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from chassis import discovery
from chassis.base.settings import Settings
from chassis.discovery.usable import usable
from tests.chassis.faulty import Faulty, faulty
from tests.consul import ConsulServer
from tests.ports import free_port
from tests.wire import reset

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30
MAX_BYTES = 40_000_000


@pytest.fixture
def instance() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


def start(consul: ConsulServer, instance: Faulty, port: int, **more: Any) -> "subprocess.Popen[bytes]":
    settings = {
        "SOUK_SERVICE": "users",
        "SOUK_INSTANCE": "users-web",
        "SOUK_INSTANCE_URL": instance.url,
        "SOUK_CONSUL_URL": consul.url,
        "SOUK_PORT": str(port),
        "SOUK_HEARTBEAT_SECONDS": "0.1",
    }
    command = [sys.executable, "-m", "services.sidecar"]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, **more)


def test_it_keeps_the_entry_until_it_is_stopped(consul: ConsulServer, instance: Faulty) -> None:
    port = free_port()
    process = start(consul, instance, port)
    try:
        consul.until(lambda: consul.healthy("users") == ["users-web"])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            assert json.load(response)["state"] == "registered"
        assert psutil.Process(process.pid).memory_full_info().uss < MAX_BYTES
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert consul.request("/v1/agent/services") == {}
    finally:
        process.kill()
        process.wait()


def test_an_instance_whose_sidecar_hangs_is_still_called_while_it_lives(
    consul: ConsulServer, instance: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUK_TTL_SECONDS", "1")
    monkeypatch.setenv("SOUK_CHECK_SECONDS", "0.1")
    process = start(consul, instance, free_port())
    try:
        consul.until(lambda: consul.healthy("users") == ["users-web"])
        process.send_signal(signal.SIGSTOP)
        consul.until(lambda: consul.status("users-web") == "critical")
        consul.until(lambda: not consul.healthy("users"))
        found = discovery.provider(Settings(consul_url=consul.url)).instances("users")
        assert [each.url for each in found] == [instance.url]
        instance.status = 500
        consul.until(lambda: not usable(consul.request("/v1/health/service/users")))
    finally:
        process.kill()
        process.wait()


def test_a_client_that_resets_leaves_a_log_line_and_no_traceback(consul: ConsulServer, instance: Faulty) -> None:
    port = free_port()
    process = start(consul, instance, port, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        consul.until(lambda: consul.healthy("users") == ["users-web"])
        reset(port)
    finally:
        process.terminate()
        output = process.communicate(timeout=DEADLINE_SECONDS)[0].decode()
    assert [line for line in output.splitlines() if not line.startswith("{")] == []
    assert '"event": "health request failed"' in output


def test_its_successor_takes_over_the_entry_of_a_killed_one(consul: ConsulServer, instance: Faulty) -> None:
    first = start(consul, instance, free_port())
    consul.until(lambda: consul.healthy("users") == ["users-web"])
    first.kill()
    first.wait()
    assert consul.healthy("users") == ["users-web"]
    second = start(consul, instance, port := free_port())
    try:
        consul.until(lambda: is_ready(port))
        assert consul.healthy("users") == ["users-web"]
    finally:
        second.terminate()
        second.wait(DEADLINE_SECONDS)
    assert consul.request("/v1/agent/services") == {}


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5):
            return True
    except OSError:
        return False
