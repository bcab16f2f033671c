"""10,000 requests (or `N`) to targets of weight 90 and 10, then one target killed and restarted."""

import json
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack

from bench._edges import free_port, gateway, program
from bench._load import Plan, drive

REQUESTS, CLIENTS = 10_000, 16
WEIGHTS = (90, 10)
MAX_DEVIATION = 0.01
INTERVAL_SECONDS, FAILURES, SUCCESSES = 0.2, 3, 2
DEADLINE_SECONDS = 60.0

DOCUMENT = """
_format_version: "3.0"
services: [{{name: s, host: up, retries: 1, routes: [{{name: r, paths: [/]}}]}}]
upstreams:
- name: up
  targets: {targets}
  healthchecks:
    active:
      http_path: /
      healthy: {{interval: {interval}, successes: {successes}}}
      unhealthy: {{interval: {interval}, http_failures: {failures}, tcp_failures: {failures}, timeouts: {failures}}}
"""


def main() -> None:
    shares(int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS)
    health()


def document(ports: list[int], weights: tuple[int, ...], interval: float) -> str:
    targets = [{"target": f"127.0.0.1:{port}", "weight": weight} for port, weight in zip(ports, weights, strict=True)]
    return DOCUMENT.format(targets=json.dumps(targets), interval=interval, failures=FAILURES, successes=SUCCESSES)


def shares(requests: int) -> None:
    with ExitStack() as stack:
        ports = [free_port() for _ in WEIGHTS]
        for each in ports:
            stack.enter_context(program(each, "bench._edges", "service", str(each)))
        port, _, _ = stack.enter_context(gateway(document(ports, WEIGHTS, 0)))
        before, sent = [served_by(each) for each in ports], 0
        while sent < requests:
            outcome = drive(Plan(port, CLIENTS, 2.0))
            assert outcome.errors == 0, f"{outcome.errors} connections were lost"
            assert set(outcome.statuses) == {"200"}, outcome.statuses
            sent += len(outcome.milliseconds)
        served = [served_by(each) - earlier for each, earlier in zip(ports, before, strict=True)]
    print(f"{sent:,} requests over weights {WEIGHTS}: {', '.join(f'{share / sent:.2%}' for share in served)}")
    assert sum(served) == sent
    for share, weight in zip(served, WEIGHTS, strict=True):
        assert abs(share / sent - weight / sum(WEIGHTS)) <= MAX_DEVIATION


def served_by(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/count", timeout=30) as response:
        return int(json.load(response)["count"])


def health() -> None:
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        stack.enter_context(program(ports[0], "bench._edges", "service", str(ports[0])))
        with program(ports[1], "bench._edges", "service", str(ports[1])) as pid:
            port, admin_port, _ = stack.enter_context(gateway(document(ports, (100, 100), INTERVAL_SECONDS)))
            load = Load(port)
            _until(lambda: states(admin_port) == ["HEALTHY", "HEALTHY"])
            killed = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            _until(lambda: "UNHEALTHY" in states(admin_port))
            left = time.perf_counter() - killed
        with program(ports[1], "bench._edges", "service", str(ports[1])):
            listens = time.perf_counter()
            _until(lambda: states(admin_port) == ["HEALTHY", "HEALTHY"])
            returned = time.perf_counter() - listens
            load.end()
    print(
        f"a killed target was removed after {left:.2f} s ({FAILURES} probes, {INTERVAL_SECONDS} s apart) and restored {returned:.2f} s "
        f"after it listened again ({SUCCESSES} probes); {load.sent:,} requests meanwhile, {load.failed} failed"
    )
    assert load.sent > 100
    assert load.failed == 0


class Load:
    def __init__(self, port: int) -> None:
        self._port, self._ended = port, threading.Event()
        self.sent = self.failed = 0
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._ended.is_set():
            self.sent += 1
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/", timeout=30).close()
            except OSError:
                self.failed += 1

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


def states(admin_port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/upstreams/up/health", timeout=30) as response:
        return sorted(target["health"] for target in json.load(response)["data"])


def _until(holds: Callable[[], bool]) -> None:
    deadline, pause = time.monotonic() + DEADLINE_SECONDS, threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.02)


if __name__ == "__main__":
    main()
