"""Sections 6 and 7 of Kong's behaviour: tries, timeouts, bodies, balancing."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from services.gateway.proxy.forward import NO_TRY_AFTER_SECONDS
from services.gateway.wire.pool import Pool
from tests.gateway.conftest import InThread, Serve
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Response, Upstream, running
from tests.gateway.waiting import until


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections during the test."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


def balanced(serve: Serve, *targets: str, service: str = "") -> Client:
    """A service over these targets, each `host:port` or `host:port*weight`."""
    lines = [target.partition("*") for target in targets]
    listed = ", ".join(f"{{target: '{address}', weight: {weight or 100}}}" for address, _, weight in lines)
    return serve(
        f"services: [{{host: up, routes: [{{paths: [/]}}]{service}}}]\nupstreams: [{{name: up, targets: [{listed}]}}]"
    )


def test_targets_alternate_by_weight(serve: Serve, upstream: Upstream) -> None:
    with running(Upstream()) as other:
        client = balanced(serve, "{upstream}*300", f"{other.address}*100", "127.0.0.1:1*0")
        turns = []
        for _ in range(8):
            before = len(other.seen)
            client.get("/")
            turns.append("B" if len(other.seen) > before else "A")
    assert "".join(turns) == "AAABAAAB"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_is_tried_on_the_next_target(
    serve: Serve, upstream: Upstream, closed_port: int, method: str
) -> None:
    client = balanced(serve, f"127.0.0.1:{closed_port}", "{upstream}")
    assert [client.send(method, "/", body=b"x").status for _ in range(4)] == [200] * 4
    assert [seen.body for seen in upstream.seen] == [b"x"] * 4


def test_without_a_responding_target_it_is_a_502(serve: Serve, closed_port: int) -> None:
    assert balanced(serve, f"127.0.0.1:{closed_port}").get("/").status == 502


@pytest.mark.parametrize("targets", [(), ("127.0.0.1:1*0",)])
def test_without_a_target_at_all_it_is_a_503(serve: Serve, targets: tuple[str, ...]) -> None:
    reply = balanced(serve, *targets).get("/")
    assert (reply.status, reply.message) == (503, "failure to get a peer from the ring-balancer")
    assert reply.header("X-Kong-Response-Latency") is not None


def test_an_unknown_name_is_a_503(serve: Serve) -> None:
    reply = serve("services: [{url: 'http://nowhere.invalid', routes: [{paths: [/]}]}]").get("/")
    assert (reply.status, reply.message) == (503, "name resolution failed")


@pytest.mark.parametrize(
    ("method", "retries", "tries", "status"),
    [("GET", 2, 3, 200), ("PUT", 2, 3, 200), ("GET", 1, 2, 502), ("POST", 2, 1, 502), ("PATCH", 2, 1, 502)],
)
def test_a_request_without_a_response_is_repeated_where_that_is_safe(
    serve: Serve, upstream: Upstream, method: str, retries: int, tries: int, status: int
) -> None:
    upstream.responses = [Response(hang_up=True), Response(hang_up=True), Response()]
    reply = balanced(serve, "{upstream}", service=f", retries: {retries}").send(method, "/", body=b"body")
    assert (reply.status, len(upstream.seen)) == (status, tries)
    assert {seen.body for seen in upstream.seen} == {b"body"}


def test_an_error_status_is_passed_on_like_any_other(serve: Serve, upstream: Upstream) -> None:
    upstream.responses = [Response(503, body=b"down"), Response()]
    reply = balanced(serve, "{upstream}").get("/")
    assert (reply.status, reply.body, len(upstream.seen)) == (503, b"down", 1)


def test_a_slow_response_is_a_504_after_each_try(serve: Serve, upstream: Upstream) -> None:
    upstream.responses = [Response(pause_seconds=0.4)]
    reply = balanced(serve, "{upstream}", service=", retries: 1, read_timeout: 50").get("/", {"Accept": "*/*"})
    assert (reply.status, reply.message) == (504, "The upstream server is timing out")
    assert reply.header("Via") == "1.1 souk-gateway"
    assert len(upstream.seen) == 2


def test_a_try_that_took_long_is_not_repeated(serve: Serve, upstream: Upstream) -> None:
    upstream.responses = [Response(pause_seconds=60)]
    milliseconds = int(NO_TRY_AFTER_SECONDS * 1000) + 100
    reply = balanced(serve, "{upstream}", service=f", retries: 1, read_timeout: {milliseconds}").get(
        "/", {"Accept": "*/*"}
    )
    assert (reply.status, reply.message) == (504, "The upstream server is timing out")
    assert len(upstream.seen) == 1


def test_connections_are_kept_and_a_closed_one_is_noticed(serve: Serve, upstream: Upstream) -> None:
    client = balanced(serve, "{upstream}")
    client.get("/")
    before = upstream.connections
    for _ in range(5):
        client.get("/")
    assert upstream.connections == before
    upstream.responses = [Response(missing_bytes=1), Response()]
    with pytest.raises(http.client.IncompleteRead):
        client.get("/")
    assert client.post("/", b"x").status == 200


@pytest.mark.parametrize("size", [0, 1, 70_000, 300_000])
def test_a_body_arrives_whole_with_its_length(open_client: Client, upstream: Upstream, size: int) -> None:
    body = bytes(index % 251 for index in range(size))
    upstream.responses = [Response(body=body)]
    reply = open_client.post("/", body, {"Content-Type": "application/x"})
    assert upstream.last.body == body
    assert upstream.last.header("Content-Type") == "application/x"
    assert reply.body == body
    assert reply.header("Content-Length") == str(size)


def test_a_chunked_body_reaches_the_upstream_with_a_length(open_client: Client, upstream: Upstream) -> None:
    open_client.send("POST", "/", {"Transfer-Encoding": "chunked"}, iter([b"abc", b"def"]), encode_chunked=True)
    assert (upstream.last.body, upstream.last.header("Content-Length")) == (b"abcdef", "6")
    assert upstream.last.header("Transfer-Encoding") is None


def test_a_response_streams_unbuffered(open_client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(chunks=[b"first", b"second"])]
    upstream.between_chunks.clear()
    connection = http.client.HTTPConnection("127.0.0.1", open_client.port, timeout=DEADLINE_SECONDS)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.read(5) == b"first"
    upstream.between_chunks.set()
    assert response.read() == b"second"
    connection.close()


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_truncated_response_stays_visibly_truncated(open_client: Client, upstream: Upstream, size: int) -> None:
    upstream.responses = [Response(body=b"x" * size, missing_bytes=5)]
    with pytest.raises(http.client.IncompleteRead) as broken:
        open_client.get("/")
    assert len(broken.value.partial) <= size


def test_a_client_that_disconnects_before_its_body_is_not_forwarded(open_client: Client, upstream: Upstream) -> None:
    with socket.create_connection(("127.0.0.1", open_client.port), timeout=DEADLINE_SECONDS) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1024).startswith(b"HTTP/1.1 400")
    assert not upstream.seen


def test_a_request_beyond_the_connection_limit_waits(upstream: Upstream) -> None:
    edge = InThread(target_connections=2)
    client = edge.load(f"services: [{{url: 'http://{upstream.address}', routes: [{{paths: [/]}}]}}]")
    upstream.responses = [Response(chunks=[b"a", b"b"])]
    upstream.between_chunks.clear()
    before, statuses = upstream.connections, list[int]()
    threads = [threading.Thread(target=lambda: statuses.append(client.get("/").status)) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: len(upstream.seen) == 2, lambda: str(len(upstream.seen)))
    leaving = socket.create_connection(("127.0.0.1", client.port))
    leaving.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    leaving.close()
    upstream.between_chunks.set()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert statuses == [200] * 6
    assert upstream.connections <= before + 3
    edge.stop()


def test_waiting_requests_are_served_in_order(upstream: Upstream) -> None:
    async def turns() -> list[str]:
        pool, order = Pool("127.0.0.1", upstream.port, max_idle=1, max_in_use=1), list[str]()

        async def take(name: str) -> None:
            connection = await pool.acquire(DEADLINE_SECONDS, DEADLINE_SECONDS)
            order.append(name)
            pool.release(connection)

        held = await pool.acquire(DEADLINE_SECONDS, DEADLINE_SECONDS)
        waiting = [asyncio.create_task(take(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        pool.release(held)
        # Just when the connection has been released.
        await take("late")
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(turns()) == ["first", "second", "late"]


def test_a_request_that_waits_too_long_fails(upstream: Upstream) -> None:
    edge = InThread(target_connections=1)
    service = f"url: 'http://{upstream.address}', retries: 0, read_timeout: 300"
    client = edge.load(f"services: [{{{service}, routes: [{{paths: [/]}}]}}]")
    upstream.responses = [Response(pause_seconds=1.0)]
    replies = list[int]()
    threads = [threading.Thread(target=lambda: replies.append(client.get("/").status)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert replies == [504, 504]
    upstream.responses = [Response()]
    assert client.get("/").status == 200
    edge.stop()


def test_many_at_once_share_the_connections(open_client: Client, upstream: Upstream) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.extend(open_client.get("/").status for _ in range(10)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert statuses == [200] * 80
