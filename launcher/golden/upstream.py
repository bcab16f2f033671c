"""An upstream that records requests and sends prepared responses."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DEADLINE_SECONDS = 10.0


@dataclass
class Seen:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass
class Response:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b"{}"
    pause_seconds: float = 0.0
    chunks: list[bytes] | None = None
    """Sent chunked, instead of the body."""
    missing_bytes: int = 0
    """Announced by Content-Length but not sent."""
    hang_up: bool = False


class Upstream:
    """Repeats the last response; pauses after each chunk until `between_chunks` is set."""

    def __init__(self, ignores_probes: bool = False) -> None:
        """`ignores_probes`: health checks get 200, unrecorded."""
        self.seen: list[Seen] = []
        self.responses = [Response()]
        self.connections = 0
        self.between_chunks = threading.Event()
        self.between_chunks.set()
        self.ignores_probes = ignores_probes
        self.server = _Server(self)
        self.port = self.server.server_port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def last(self) -> Seen:
        return self.seen[-1]

    def reset(self) -> None:
        self.seen.clear()
        self.responses = [Response()]
        self.between_chunks.set()


@contextmanager
def running(upstream: Upstream) -> Iterator[Upstream]:
    thread = threading.Thread(target=upstream.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        upstream.between_chunks.set()
        upstream.server.shutdown()
        upstream.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        self.server.upstream.connections += 1
        super().setup()

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    def handle_one_request(self) -> None:
        try:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            upstream = self.server.upstream
            if upstream.ignores_probes and "Via" not in self.headers:
                self.reply(Response())
                return
            length = int(self.headers.get("Content-Length") or 0)
            upstream.seen.append(Seen(self.command, self.path, list(self.headers.items()), self.rfile.read(length)))
            response = upstream.responses.pop(0) if len(upstream.responses) > 1 else upstream.responses[0]
            self.reply(response)
        except OSError:
            self.close_connection = True

    def reply(self, response: Response) -> None:
        if response.pause_seconds:
            time.sleep(response.pause_seconds)
        if response.hang_up:
            self.close_connection = True
            return
        self.send_response_only(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if response.chunks is not None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in response.chunks:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
                self.server.upstream.between_chunks.wait(DEADLINE_SECONDS)
            self.wfile.write(b"0\r\n\r\n")
            return
        if response.status >= 200 and response.status != 204:
            self.send_header("Content-Length", str(len(response.body) + response.missing_bytes))
        self.end_headers()
        if self.command != "HEAD" and response.status != 304:
            self.wfile.write(response.body)
        if response.missing_bytes:
            self.close_connection = True
