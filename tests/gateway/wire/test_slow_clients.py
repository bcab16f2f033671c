"""Slow clients: each has a deadline, and none delays others."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.gateway.conftest import InThread
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Response, Upstream

OPEN = "services: [{{url: 'http://{0}', routes: [{{paths: [/], strip_path: false}}]}}]"
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def hasty() -> Iterator[InThread]:
    edge = InThread(head_seconds=0.5, body_seconds=0.5)
    yield edge
    edge.stop()


@pytest.fixture
def client(hasty: InThread, upstream: Upstream) -> Client:
    return hasty.load(OPEN.format(upstream.address))


def response_to(client: Client, *parts: bytes, pause: float = 0.1) -> tuple[bytes, float]:
    """The response until the connection is closed, and the seconds this took."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", client.port), timeout=DEADLINE_SECONDS) as connection:
        connection.settimeout(pause)
        response = b""
        for part in parts:
            try:
                connection.sendall(part)
                block = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            response += block
            if not block:
                break
        connection.settimeout(DEADLINE_SECONDS)
        try:
            while block := connection.recv(65536):
                response += block
        except ConnectionResetError:
            pass
    return response, time.monotonic() - started


@pytest.mark.parametrize("drops", [[b"GET / HT"], [b"GET / HTTP/1.1\r\n", *[b"X-%d: 1\r\n" % n for n in range(40)]]])
def test_an_unfinished_head_is_refused(client: Client, upstream: Upstream, drops: list[bytes]) -> None:
    response, seconds = response_to(client, *drops)
    assert response.startswith(b"HTTP/1.1 408 ")
    assert seconds < 8
    assert not upstream.seen


def test_a_silent_connection_is_closed(client: Client) -> None:
    assert response_to(client)[0] == b""


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"])
@pytest.mark.parametrize("drops", [[b"a"], [b"a"] * 30])
def test_an_unfinished_body_is_refused_and_not_forwarded(
    client: Client, upstream: Upstream, framing: bytes, drops: list[bytes]
) -> None:
    response, seconds = response_to(client, HEAD + framing, *drops)
    assert response.startswith(b"HTTP/1.1 408 ")
    assert seconds < 8
    assert not upstream.seen


def test_a_body_that_keeps_arriving_may_take_longer(client: Client, upstream: Upstream) -> None:
    response, seconds = response_to(
        client, HEAD + b"Connection: close\r\nContent-Length: 10000\r\n\r\n", *[b"x" * 1000] * 10
    )
    assert response.startswith(b"HTTP/1.1 200 ")
    assert seconds > 0.5
    assert len(upstream.last.body) == 10_000


def test_slow_clients_do_not_delay_others(client: Client, upstream: Upstream) -> None:
    slow = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(200)]
    for connection in slow:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\na")
    started = time.monotonic()
    assert [client.get("/").status for _ in range(5)] == [200] * 5
    assert time.monotonic() - started < 5
    for connection in slow:
        connection.close()
    assert {seen.method for seen in upstream.seen} == {"GET"}


def test_a_client_refused_while_sending_gets_the_response(hasty: InThread, upstream: Upstream) -> None:
    limit = "plugins: [{name: request-size-limiting, config: {allowed_payload_size: 1}}]"
    client = hasty.load(OPEN.format(upstream.address) + "\n" + limit)
    body = b"x" * (3 * 2**20)
    response, _ = response_to(client, HEAD + b"Content-Length: %d\r\n\r\n" % len(body), body)
    assert response.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in response


def test_a_client_that_expects_100_continue_gets_it(client: Client, upstream: Upstream) -> None:
    with socket.create_connection(("127.0.0.1", client.port), timeout=DEADLINE_SECONDS) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert (upstream.last.body, upstream.last.header("Expect")) == (b"abc", None)


@pytest.mark.parametrize(
    ("head", "status"), [(b"GET /%s HTTP/1.1\r\n", b"414"), (b"GET / HTTP/1.1\r\nX-A: %s\r\n", b"400")]
)
def test_an_endless_head_is_not_buffered(client: Client, upstream: Upstream, head: bytes, status: bytes) -> None:
    response, _ = response_to(client, head % (b"x" * 60_000))
    assert response[9:12] == status
    many = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(60))
    response, _ = response_to(client, b"GET / HTTP/1.1\r\nHost: a\r\n" + many)
    assert b"Request header or cookie too large" in response
    assert not upstream.seen


def test_pipelined_requests_get_responses_in_order(client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(pause_seconds=0.2, body=b"first"), Response(body=b"second"), Response(body=b"third")]
    one, last = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    two = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    response, _ = response_to(client, one + two + last)
    places = [response.index(body) for body in (b"first", b"second", b"third")]
    assert places == sorted(places)
    assert [seen.body for seen in upstream.seen] == [b"", b"abc", b""]


def test_malformed_data_after_a_request_does_not_affect_its_response(client: Client, upstream: Upstream) -> None:
    response, _ = response_to(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET bad\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in response
    assert len(upstream.seen) == 1


def test_http_1_0_gets_no_chunks(client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(chunks=[b"abc", b"def"])]
    upstream.between_chunks.clear()
    threading.Timer(0.2, upstream.between_chunks.set).start()
    response, _ = response_to(client, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head, _, body = response.partition(b"\r\n\r\n")
    assert body == b"abcdef"
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert upstream.last.header("Host") == upstream.address


def test_a_websocket_upgrade_is_refused_with_an_explanation(client: Client, upstream: Upstream) -> None:
    upgrade = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n"
    response, _ = response_to(client, upgrade + b"\x81\x00")
    assert response.startswith(b"HTTP/1.1 501 ")
    assert b"WebSocket is not supported" in response
    assert not upstream.seen


def test_another_upgrade_is_an_ordinary_request(client: Client, upstream: Upstream) -> None:
    response, _ = response_to(client, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 200 ")
    assert upstream.last.header("Upgrade") is None
