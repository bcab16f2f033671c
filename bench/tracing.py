"""What tracing costs a request and a process, under the same load in turns.

Two processes that run the same differ by more than tracing costs, so requests whose callers sample them are compared with others of the
same process. Processor time counts all of a process: making spans, and sending them to a receiver, which is a process of its own.
"""

import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import psutil
from rich.console import Console
from rich.table import Table

from bench._edges import free_port
from bench._load import Plan, drive
from bench._services import environment, migrate, products_environment, program

CLIENTS = 4
SECONDS = 0.5
ROUNDS = 20

SENDING_SECONDS = 0.8
"""Until the last spans have left."""

PATH = "/products/?limit=20"


class Process:
    def __init__(self, name: str, url: str, pid: int, flag: str) -> None:
        self.name, self._process = name, psutil.Process(pid)
        self._plan = Plan(
            urlsplit(url).port or 0,
            CLIENTS,
            SECONDS,
            path=PATH,
            headers={"traceparent": f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-{flag}"},
        )
        self.microseconds: list[float] = []
        """Of processor time per request, one per round."""

    def measure(self) -> None:
        before = self._spent()
        outcome = drive(self._plan)
        time.sleep(SENDING_SECONDS)
        assert set(outcome.statuses) == {"200"}, outcome.statuses
        self.microseconds.append((self._spent() - before) / len(outcome.milliseconds) * 1e6)

    @property
    def median(self) -> float:
        return statistics.median(self.microseconds[1:])

    @property
    def megabytes(self) -> float:
        pss: int = self._process.memory_full_info().pss
        return pss / 2**20

    def _spent(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system


def main() -> None:
    with ExitStack() as running:
        settings = environment(**{**products_environment(), "SOUK_LOG_LEVEL": "info"})
        migrate("products", settings)
        receiver = running.enter_context(_receiver())
        off, on = (
            running.enter_context(program(["chassis", "web", "services.products"], {**settings, **more}))
            for more in ({}, {"SOUK_OTLP_URL": receiver})
        )
        processes = [
            Process("on, not sampled", *on, "00"),
            Process("on, sampled", *on, "01"),
            Process("off, another process", *off, "01"),
        ]
        for _ in range(ROUNDS + 1):
            for process in processes:
                process.measure()
        show(processes)


def show(processes: list[Process]) -> None:
    """Medians; the first round warms up."""
    table = Table("tracing", "µs of CPU per request", "ratio", "PSS in MB", title=f"GET {PATH}", title_justify="left")
    for process in processes:
        spent = process.median
        table.add_row(process.name, f"{spent:.0f}", f"{spent / processes[0].median:.3f}", f"{process.megabytes:.1f}")
    Console(highlight=False).print(table)


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
