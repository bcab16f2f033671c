"""`python -m services.sidecar` with a real Consul: small, and out of the catalogue once it is stopped."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.chassis.faulty import Faulty, faulty
from tests.conftest import free_port
from tests.consul import ConsulServer

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30
MAX_BYTES = 40_000_000


@pytest.fixture
def instance() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


def start(consul: ConsulServer, instance: Faulty, port: int) -> "subprocess.Popen[bytes]":
    settings = {
        "SOUK_SERVICE": "users",
        "SOUK_INSTANCE": "users-web",
        "SOUK_INSTANCE_URL": instance.url,
        "SOUK_CONSUL_URL": consul.url,
        "SOUK_PORT": str(port),
        "SOUK_HEARTBEAT_SECONDS": "0.1",
    }
    return subprocess.Popen([sys.executable, "-m", "services.sidecar"], cwd=ROOT, env={**os.environ, **settings})


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
