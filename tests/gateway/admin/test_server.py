"""The admin port over sockets: slow clients hold neither threads nor others."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from services.gateway.admin.app import create_admin
from services.gateway.admin.server import MAX_PER_ADDRESS, THREADS, AdminServer
from tests.gateway.conftest import InThread
from tests.gateway.upstream import DEADLINE_SECONDS, Client

SLOW_CLIENTS = 60
LARGE_BYTES = 2_000_000
LARGE = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_BODY = b"POST /config HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf"

Open = Callable[[bytes, str], socket.socket]


@pytest.fixture
def port(edge: InThread) -> Iterator[int]:
    edge.load("services: []")
    admin = create_admin(edge.runtime, {})
    admin.add_url_rule("/large", "large", lambda: b"x" * LARGE_BYTES)
    server = AdminServer(admin)
    yield asyncio.run_coroutine_threadsafe(server.listen("127.0.0.1", 0), edge.runtime.loop).result()
    asyncio.run_coroutine_threadsafe(server.stop(), edge.runtime.loop).result()


@pytest.fixture
def send(port: int) -> Iterator[Open]:
    """Send a request from an address, over a connection that takes little before it is read."""
    opened: list[socket.socket] = []

    def send(request: bytes, address: str) -> socket.socket:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(DEADLINE_SECONDS)
        connection.bind((address, 0))
        connection.connect(("127.0.0.1", port))
        connection.sendall(request)
        opened.append(connection)
        return connection

    yield send
    for connection in opened:
        connection.close()


def test_clients_that_do_not_read_hold_up_nobody_and_are_limited_per_address(port: int, send: Open) -> None:
    before = threading.active_count()
    slow = [send(LARGE, "127.0.0.2") for _ in range(SLOW_CLIENTS)]
    statuses = Counter(connection.recv(12)[-3:] for connection in slow)
    assert statuses == {b"200": MAX_PER_ADDRESS, b"429": SLOW_CLIENTS - MAX_PER_ADDRESS}
    assert threading.active_count() <= before + THREADS
    client = Client(port)
    assert client.get("/health/live").status == 200
    assert len(client.get("/large").body) == LARGE_BYTES


def test_half_bodies_hold_no_thread(port: int, send: Open) -> None:
    for number in range(SLOW_CLIENTS):
        send(HALF_BODY, f"127.0.0.{2 + number % 10}")
    assert Client(port).get("/health/live").status == 200


def test_requests_go_through_unchanged(port: int) -> None:
    client = Client(port)
    assert client.get("/status").json["server"]["total_requests"] >= 0
    assert (client.get("/nowhere").status, client.get("/%73tatus").status) == (404, 200)
    assert client.send("HEAD", "/large").body == b""
    refused = client.post("/config", '{"config": "services: 1"}', {"Content-Type": "application/json"})
    assert refused.status == 400
    too_large = client.send("POST", "/config", {"Content-Length": str(17 * 2**20)}, b"x" * (17 * 2**20))
    assert too_large.status == 413
