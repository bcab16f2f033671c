"""1 GB (or `MEGABYTES`) up and down through the gateway, and the memory this takes."""

import hashlib
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench._edges import gateway, memory_megabytes

BLOCK = bytes(range(256)) * 4096

TIMEOUT_SECONDS = 600


class Storage(BaseHTTPRequestHandler):
    """POST returns the SHA-256, GET /N returns N megabytes."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    def do_POST(self) -> None:
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            block = self.rfile.read(min(left, len(BLOCK)))
            digest.update(block)
            left -= len(block)
        self._start(len(digest.hexdigest()))
        self.wfile.write(digest.hexdigest().encode())

    def do_GET(self) -> None:
        megabytes = int(self.path.strip("/") or 0)
        self._start(megabytes * len(BLOCK))
        for _ in range(megabytes):
            self.wfile.write(BLOCK)

    def _start(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()


class PeakMemory:
    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self.megabytes = memory_megabytes(pid)
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.05):
            self.megabytes = max(self.megabytes, memory_megabytes(self._pid))


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    digest = hashlib.sha256()
    for _ in range(megabytes):
        digest.update(BLOCK)
    with storage() as port:
        transfer("without the gateway", port, megabytes, digest.hexdigest())
        document = f"services: [{{url: 'http://127.0.0.1:{port}', routes: [{{paths: [/]}}]}}]"
        with gateway('_format_version: "3.0"\n' + document) as (edge, _, pid):
            transfer("(first request)", edge, 0, hashlib.sha256().hexdigest())
            before = memory_megabytes(pid)
            with PeakMemory(pid) as peak:
                transfer("through the gateway", edge, megabytes, digest.hexdigest())
            grown = peak.megabytes - before
            print(f"memory of the gateway: {before:.0f} MB before, {peak.megabytes:.0f} MB at peak ({grown:+.0f} MB)")
            assert grown < 32, "the gateway keeps bodies in memory"


@contextmanager
def storage() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Storage)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def transfer(name: str, port: int, megabytes: int, digest: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    started = time.perf_counter()
    connection.request("POST", "/", iter([BLOCK] * megabytes), {"Content-Length": str(megabytes * len(BLOCK))})
    assert connection.getresponse().read().decode() == digest
    up = time.perf_counter() - started
    started, received = time.perf_counter(), 0
    connection.request("GET", f"/{megabytes}")
    response = connection.getresponse()
    while block := response.read(len(BLOCK)):
        received += len(block)
    down = time.perf_counter() - started
    assert received == megabytes * len(BLOCK)
    connection.close()
    if megabytes:
        print(f"{name}: {megabytes} MB up {megabytes / up:.0f} MB/s, down {megabytes / down:.0f} MB/s")


if __name__ == "__main__":
    main()
