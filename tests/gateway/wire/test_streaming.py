"""Bodies of any size, both ways, in bounded memory."""

import hashlib
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest

from tests.gateway.conftest import Serve
from tests.gateway.process import Process
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Response, Upstream
from tests.gateway.waiting import until

MEGABYTE = b"0123456789abcdef" * 65536
SIZE = 64
MAX_GROWTH_BYTES = 24 * 2**20


class Sink(BaseHTTPRequestHandler):
    """Responds to an upload with its digest, and to a GET with SIZE megabytes."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    def do_POST(self) -> None:
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            block = self.rfile.read(min(left, 65536))
            digest.update(block)
            left -= len(block)
        body = digest.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE * len(MEGABYTE)))
        self.end_headers()
        for _ in range(SIZE):
            self.wfile.write(MEGABYTE)


@contextmanager
def sink() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with sink() as port:
        process = Process(tmp_path_factory.mktemp("streaming"), f"127.0.0.1:{port}")
        document = f"services: [{{url: 'http://127.0.0.1:{port}', routes: [{{paths: [/]}}]}}]"
        reply = Client(process.admin_port).post(
            "/config", f'_format_version: "3.0"\n{document}'.encode(), {"Content-Type": "text/yaml"}
        )
        assert reply.status == 201, reply.body
        yield process
        process.running.terminate()
        process.running.wait(DEADLINE_SECONDS)


def growth(process: Process, before: int) -> int:
    """Growth of resident memory."""
    return int(psutil.Process(process.running.pid).memory_info().rss) - before


def test_a_large_upload_and_a_large_download_take_little_memory(process: Process) -> None:
    client = Client(process.port)
    client.get("/") and client.post("/", MEGABYTE)
    before = growth(process, 0)
    uploaded = client.send("POST", "/", {"Content-Length": str(SIZE * len(MEGABYTE))}, iter([MEGABYTE] * SIZE))
    assert uploaded.body.decode() == hashlib.sha256(MEGABYTE * SIZE).hexdigest()
    assert growth(process, before) < MAX_GROWTH_BYTES
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=DEADLINE_SECONDS)
    connection.request("GET", "/")
    response, received = connection.getresponse(), 0
    while block := response.read(2**20):
        received += len(block)
    connection.close()
    assert received == SIZE * len(MEGABYTE)
    assert growth(process, before) < MAX_GROWTH_BYTES


def test_a_client_that_does_not_read_uses_little_memory(process: Process) -> None:
    before = growth(process, 0)
    idle = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(4)]
    for connection in idle:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert all(connection.recv(1) == b"H" for connection in idle)
    assert growth(process, before) < MAX_GROWTH_BYTES
    for connection in idle:
        connection.close()


def test_a_route_may_pass_on_a_body_unbuffered(serve: Serve, upstream: Upstream) -> None:
    client = serve("services: [{url: 'http://{upstream}', routes: [{paths: [/], request_buffering: false}]}]")
    for size in (3, 300_000):
        assert client.post("/", b"x" * size).status == 200
        assert len(upstream.last.body) == size
    with socket.create_connection(("127.0.0.1", client.port), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc")
        until(lambda: upstream.connections > 0, lambda: "the upstream is called before the body is complete")
        connection.sendall(b"def")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert upstream.last.body == b"abcdef"


def test_an_unbuffered_body_is_not_sent_twice(serve: Serve, upstream: Upstream) -> None:
    route = "routes: [{paths: [/], request_buffering: false}]"
    client = serve("services: [{url: 'http://{upstream}', retries: 3, " + route + "}]")
    upstream.responses = [Response(hang_up=True), Response()]
    assert client.send("PUT", "/", body=b"abc").status == 502
    assert len(upstream.seen) == 1


def test_an_upstream_may_respond_before_it_has_read_the_request(serve: Serve) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]

        def refuse() -> None:
            connection, _ = listening.accept()
            connection.recv(1024)
            connection.sendall(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            connection.close()

        threading.Thread(target=refuse, daemon=True).start()
        reply = serve(f"services: [{{url: 'http://127.0.0.1:{port}', routes: [{{paths: [/]}}]}}]").post(
            "/", b"x" * 2**20
        )
        assert (reply.status, reply.body) == (413, b"no")
