"""A web process whose upstream hangs responds in time, serves its other routes, and recovers by itself."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import urllib3

from tests.chassis.faulty import Faulty, faulty
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
THREADS, CALLERS = 4, 12
pool = urllib3.PoolManager(maxsize=64, timeout=60, retries=False)


@pytest.fixture
def upstream() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


@pytest.fixture
def url(make_database: Callable[[str], str], upstream: Faulty) -> Iterator[str]:
    port = free_port()
    environment = {
        "SOUK_DATABASE_URL": make_database("caller"),
        "SOUK_JWT_KEYS": '{"test": "a secret that is long enough for HS256!"}',
        "SOUK_SERVICES": f'{{"upstream": "{upstream.url}"}}',
        "SOUK_THREADS": str(THREADS),
        "SOUK_PORT": str(port),
    }
    command = [sys.executable, "-m", "chassis", "web", "tests.chassis.caller"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: status(f"{address}/health/ready") == 200)
        yield address
    finally:
        process.terminate()
        process.wait(40)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.1)


def status(url: str) -> int:
    """0 without a response."""
    try:
        return pool.request("GET", url).status
    except urllib3.exceptions.HTTPError:
        return 0


def test_an_upstream_that_hangs_does_not_block_its_callers_other_routes(url: str, upstream: Faulty) -> None:
    assert status(f"{url}/calling") == 200
    seen = len(upstream.seen)
    upstream.hangs = True
    with ThreadPoolExecutor(CALLERS) as callers:
        calls = [callers.submit(status, f"{url}/calling") for _ in range(CALLERS)]
        upstream.wait_for(seen + THREADS // 2)
        # The upstream has not responded yet, and more callers wait for it than there are threads.
        assert [status(f"{url}/own") for _ in range(5)] == [200] * 5
        assert {each.result() for each in calls} <= {503, 504}
    until(lambda: status(f"{url}/calling") == 503)
    # Spared: with its breaker open, calls come back without having been sent; one at a time looks whether it is well again.
    seen = len(upstream.seen)
    assert {status(f"{url}/calling") for _ in range(20)} <= {503, 504}
    assert len(upstream.seen) - seen < 20
    upstream.hangs = False
    upstream.released.set()
    until(lambda: status(f"{url}/calling") == 200)
    assert [status(f"{url}/calling") for _ in range(5)] == [200] * 5
