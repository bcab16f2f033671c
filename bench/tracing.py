"""What tracing costs a request and a process, under the same load in turns.

Processes that run the same differ by more than tracing costs, so requests whose callers sample them are compared with others of the
same process. Processor time counts all of it: making spans, and sending them to a receiver, which is a process of its own.
Memory is compared between processes forked from one that has imported what all share, as the supervisor's are.
"""

import gc
import importlib
import math
import os
import runpy
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import psutil
from rich.console import Console
from rich.table import Table

from bench._edges import free_port
from bench._load import Plan, drive
from bench._services import environment, is_ready, migrate, products_environment, until

CLIENTS = 4
SECONDS = 0.5
ROUNDS = 60

SENDING_SECONDS = 0.8
"""Until the last spans have left."""

PATH = "/products/?limit=20"

SHARED = ("chassis.clients.client", "chassis.run.web_app", "chassis.run.web_server", "chassis.storage.mongo")
"""What the supervisor has imported, too."""


class Requests:
    def __init__(self, name: str, port: int, pid: int, flag: str) -> None:
        self.name, self._pid = name, pid
        self._plan = Plan(
            port,
            CLIENTS,
            SECONDS,
            path=PATH,
            headers={"traceparent": f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-{flag}"},
        )
        self.microseconds: list[float] = []
        """Of processor time per request, by round."""

    def measure(self, counts: bool) -> None:
        before = self._spent()
        outcome = drive(self._plan)
        time.sleep(SENDING_SECONDS)
        assert set(outcome.statuses) == {"200"}, outcome.statuses
        if counts:
            self.microseconds.append((self._spent() - before) / len(outcome.milliseconds) * 1e6)

    @property
    def megabytes(self) -> float:
        pss: int = psutil.Process(self._pid).memory_full_info().pss
        return pss / 2**20

    def _spent(self) -> float:
        """By the scheduler, which counts nanoseconds."""
        threads = Path(f"/proc/{self._pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in threads) / 1e9


def main() -> None:
    with ExitStack() as running:
        settings = environment(**{**products_environment(), "SOUK_LOG_LEVEL": "info"})
        migrate("products", settings)
        receiver = running.enter_context(_receiver())
        for name in SHARED:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()
        off, on = (running.enter_context(_forked({**settings, **more})) for more in ({}, {"SOUK_OTLP_URL": receiver}))
        # All processes serve as many.
        turns = [
            Requests("on, not sampled", *on, "00"),
            Requests("on, sampled", *on, "01"),
            Requests("off, another process", *off, "00"),
            Requests("off, another process", *off, "01"),
        ]
        for number in range(ROUNDS + 1):
            # The first round warms up, and each is followed by every other.
            for requests in turns if number % 2 else reversed(turns):
                requests.measure(counts=number > 0)
        show(turns)


def show(turns: list[Requests]) -> None:
    columns = ("tracing", "µs of CPU", "ratio", "95 % interval", "PSS in MB")
    table = Table(*columns, title=f"GET {PATH}: median of {ROUNDS} rounds", title_justify="left")
    for each in turns:
        ratios = [one / other for one, other in zip(each.microseconds, turns[0].microseconds, strict=True)]
        low, middle, high = median(ratios)
        spent = statistics.median(each.microseconds)
        table.add_row(each.name, f"{spent:.0f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{each.megabytes:.1f}")
    Console(highlight=False).print(table)


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """With its 95 % confidence interval in front and behind, by ranks: what else a machine does has no known distribution."""
    ordered, reach = sorted(values), 0.98 * math.sqrt(len(values))
    low, high = math.floor(len(values) / 2 - reach), math.ceil(len(values) / 2 + reach)
    return ordered[low], statistics.median(ordered), ordered[high - 1]


@contextmanager
def _forked(settings: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """Port and process id of the products service's web process."""
    port = free_port()
    pid = os.fork()
    if not pid:
        _serve({**settings, "SOUK_PORT": str(port)})
    try:
        until(lambda: is_ready(f"http://127.0.0.1:{port}"))
        yield port, pid
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def _serve(settings: Mapping[str, str]) -> NoReturn:
    try:
        os.environ.clear()
        os.environ.update(settings)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.argv = ["chassis", "web", "services.products"]
        runpy.run_module("chassis", run_name="__main__")
    finally:
        os._exit(1)


@contextmanager
def _receiver() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "bench.tracing", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def receive(port: int) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """The benchmark prints enough."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    receive(int(sys.argv[1])) if sys.argv[1:] else main()
