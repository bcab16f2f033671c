"""The edges compared: `python -m bench._edges service|naive PORT [UPSTREAM]`."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import requests
from flask import Flask, Response, request

from chassis.base.settings import Settings
from chassis.run import web_server

READY_SECONDS = 60.0
END_SECONDS = 10.0


def service() -> Flask:
    app, lock, count = Flask("service"), Lock(), [0]

    @app.get("/")
    def hello() -> dict[str, str]:
        with lock:
            count[0] += 1
        return {"text": "hello"}

    app.add_url_rule("/count", view_func=lambda: {"count": count[0]})
    return app


def naive(upstream: str) -> Flask:
    """The obvious proxy; it does reuse connections."""
    app, session = Flask("naive"), requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST", "PUT", "DELETE"])
    @app.route("/<path:path>", methods=["GET", "POST", "PUT", "DELETE"])
    def proxy(path: str) -> Response:
        headers = {name: value for name, value in request.headers if name.lower() != "host"}
        response = session.request(
            request.method, f"{upstream}/{path}", headers=headers, data=request.get_data(), timeout=60
        )
        return Response(response.content, response.status_code, {"Content-Type": response.headers["Content-Type"]})

    return app


@contextmanager
def program(port: int, *arguments: str, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Yields the process id."""
    with program_of(port, [sys.executable, "-m", *arguments], environment) as pid:
        yield pid


@contextmanager
def program_of(port: int, command: Sequence[str], environment: dict[str, str] | None = None) -> Iterator[int]:
    with subprocess.Popen(
        command, env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait(port, process)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def gateway(document: str) -> Iterator[tuple[int, int, int]]:
    """Yields port, admin port and process id."""
    port, admin_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kong.yml"
        file.write_text(document)
        settings = {"SOUK_PORT": str(port), "SOUK_ADMIN_PORT": str(admin_port), "SOUK_KONG_FILE": str(file)}
        settings["SOUK_LOG_LEVEL"] = "error"
        with program(port, "services.gateway", environment=settings) as pid:
            yield port, admin_port, pid


def free_port() -> int:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port: int = reserved.getsockname()[1]
        return port


def memory_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"No response on port {port}.")


if __name__ == "__main__":
    kind, port = sys.argv[1:3]
    app = service() if kind == "service" else naive(sys.argv[3])
    web_server.run(app, Settings(port=int(port), threads=int(json.loads(os.environ.get("BENCH_THREADS", "16")))))
