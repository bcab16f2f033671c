"""The gateway as a process: `python -m services.gateway`, from its rendered file to its exit."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.gateway.process import Process
from tests.gateway.upstream import DEADLINE_SECONDS, Client, Response, Upstream, running
from tests.gateway.waiting import until


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running(Upstream(ignores_probes=True)) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[Process]:
    process = Process(tmp_path_factory.mktemp("gateway"), upstream.address)
    yield process
    process.running.terminate()
    assert process.running.wait(DEADLINE_SECONDS) == 0


@pytest.fixture
def client(process: Process, upstream: Upstream) -> Client:
    upstream.reset()
    return Client(process.port)


def test_open_routes_are_proxied(client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(body=b'{"items": []}', headers=[("ETag", '"1"')])]
    reply = client.get("/products/?limit=1&q=a%2Fb")
    assert (reply.status, reply.body, reply.header("ETag")) == (200, b'{"items": []}', '"1"')
    assert upstream.last.target == "/products/?limit=1&q=a%2Fb"
    assert reply.header("X-Correlation-ID") == upstream.last.header("X-Correlation-ID")


def test_other_routes_require_a_token(client: Client, upstream: Upstream) -> None:
    assert client.get("/orders/").json == {"message": "Unauthorized"}
    assert not upstream.seen


def test_the_process_environment_stays_out_of_requests(client: Client, upstream: Upstream) -> None:
    client.get("/products/")
    assert upstream.last.header("X-Consumer-Username") == "anonymous"


def test_a_response_to_head_has_no_body(client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(body=b"12345")]
    reply = client.send("HEAD", "/products/")
    assert (reply.status, reply.body, reply.header("Content-Length")) == (200, b"", "5")


@pytest.mark.parametrize("size", [1_000, 5_000_000])
def test_responses_of_any_size_pass(client: Client, upstream: Upstream, size: int) -> None:
    upstream.responses = [Response(body=b"x" * size)]
    assert len(client.get("/products/").body) == size


def test_a_truncated_response_stays_visibly_truncated(process: Process, client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(body=b"x" * 200_000, missing_bytes=5)]
    response = process.raw(b"GET /products/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert len(response.partition(b"\r\n\r\n")[2]) <= 200_000


def test_too_large_a_body_is_refused_before_it_is_sent(process: Process, client: Client, upstream: Upstream) -> None:
    head = f"POST /users/register HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {8 * 2**20 + 1}\r\n\r\n"
    assert process.raw(head.encode()).startswith(b"HTTP/1.1 413 ")
    assert not upstream.seen


@pytest.mark.parametrize(
    "path",
    [
        "/internal/x",
        "/metrics",
        "/health/ready",
        "/products/../internal/x",
        "/products/%2e%2e/internal/x",
        "/products/..%2finternal/x",
        "/products/%252e%252e/internal/x",
        "/products/%2e%2e%2finternal%2fx",
        "//internal/x",
        "/products//../metrics",
        "/docs/../metrics",
        "/docs/%2e%2e/status",
        "/users/..;/internal/x",
        "/products/.%2E/internal/x",
        "/%69nternal/x",
        "/./internal/x",
        "/products/;/../internal/x",
        "/products/%c0%ae%c0%ae/internal",
        "/users/..%2f..%2finternal%2frequests/preferences",
        "/payments/webhooks/..%2f..%2finternal",
        "/health%2flive",
        "/health/live?",
        "/products/../health/live",
        "/docs/..%2fstatus",
        "/docs/..;/status",
        "/operations/../config",
        "/operations/status/../../config",
        "/openapi.json%2f..%2fmetrics",
        "/partners/products/../../internal/x",
    ],
)
def test_nothing_internal_can_be_reached(client: Client, upstream: Upstream, path: str) -> None:
    assert client.get(path).status == 404
    assert not upstream.seen


def test_a_client_that_disconnects_half_way_is_not_forwarded(
    process: Process, client: Client, upstream: Upstream
) -> None:
    with socket.create_connection(("127.0.0.1", process.port), timeout=DEADLINE_SECONDS) as leaving:
        leaving.sendall(b"POST /users/login HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert client.get("/products/").status == 200
    assert [seen.method for seen in upstream.seen] == ["GET"]
    assert "unhandled" not in process.log.read_text()


def test_each_request_is_logged_without_secrets(process: Process, client: Client, upstream: Upstream) -> None:
    secret = "s" + uuid4().hex
    upstream.responses = [Response(202, [("Set-Cookie", f"a={secret}"), ("Location", f"/{secret}")], secret.encode())]
    headers = dict.fromkeys(("Cookie", "Authorization", "X-API-Key", "X-Partner-Key", "X-Correlation-ID"), secret)
    reply = client.send("POST", f"/notifications/unsubscribe/{secret}?token={secret}", headers, secret)
    assert (reply.status, secret in upstream.last.target, secret.encode() in reply.body) == (202, True, True)
    request_id = reply.header("X-Kong-Request-Id") or ""
    until(lambda: request_id in process.log.read_text(), process.log.read_text)
    text = next(line for line in process.log.read_text().splitlines() if request_id in line)
    assert secret not in process.log.read_text()
    line = json.loads(text)
    assert (line["request"]["method"], line["response"]["status"]) == ("POST", 202)
    assert (line["route"]["name"], line["client_ip"]) == ("notifications-unsubscribe", "127.0.0.1")
    assert (line["consumer"]["username"], line["upstream_status"], len(line["tries"])) == ("anonymous", "202", 1)
    assert len(text) < 1_000, text


def test_the_log_holds_the_correlation_id(process: Process, client: Client) -> None:
    sent = str(uuid4())
    for reply in (client.get("/products/"), client.get("/products/", {"X-Correlation-ID": sent}), client.get("/%zz")):
        id_ = reply.header("X-Correlation-ID")
        until(lambda id_=id_: f'"correlation_id":"{id_}"' in process.log.read_text(), process.log.read_text)
    assert sent in process.log.read_text()


@pytest.mark.parametrize(
    "request_line", ["GET /products/%zz", "TRACE /products/", "CONNECT a:1", f"GET /{'x' * 9_000}", "GET x"]
)
def test_browsers_can_read_what_is_refused_before_routing(process: Process, client: Client, request_line: str) -> None:
    head = f"{request_line} HTTP/1.1\r\nHost: a\r\nOrigin: https://shop.test\r\nConnection: close\r\n\r\n"
    response = process.raw(head.encode()).lower()
    assert response.startswith((b"http/1.1 400 ", b"http/1.1 405 ", b"http/1.1 414 "))
    for header in (b"access-control-allow-origin: *", b"x-correlation-id: ", b"x-frame-options: deny"):
        assert response.count(b"\r\n" + header) == 1


@pytest.mark.parametrize("name", ["X-Request-Timeout-Ms", "X-API-Key", "traceparent", "tracestate", "TokenDigest"])
def test_outsiders_cannot_send_what_services_tell_each_other(client: Client, upstream: Upstream, name: str) -> None:
    for spelling in {name, name.lower(), name.replace("-", "_"), name.replace("-", "_", 1)}:
        assert client.get("/products/", {spelling: "4"}).status == 200
        sent = {key.lower().replace("_", "-") for key, _ in upstream.last.headers}
        assert name.lower() not in sent


def test_an_unavailable_service_is_a_problem(process: Process, client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(hang_up=True)]
    reply = client.send("POST", "/users/login", {"Accept": "text/html"}, "{}")
    assert (reply.status, reply.header("Content-Type")) == (503, "application/problem+json")
    assert (reply.json["status"], reply.json["title"], reply.header("Retry-After")) == (503, "Service Unavailable", "2")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_services_own_error_is_passed_on(client: Client, upstream: Upstream, status: int) -> None:
    upstream.responses = [Response(status, body=b"mine")]
    reply = client.get("/products/")
    assert (reply.status, reply.body) == (status, b"mine")


SMUGGLED = b"POST /internal/x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 4\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 4", b"0\r\n\r\n" + SMUGGLED),
        (b"Content-Length: 0\r\nContent-Length: 60", SMUGGLED),
        (b"Content-Length: 0, 60", SMUGGLED),
        (b"Content-Length: +4", b"abcd" + SMUGGLED),
        (b"Transfer-Encoding: gzip", SMUGGLED),
        (b"Transfer-Encoding: chunked, gzip", b"0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding : chunked", b"0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked", b"zz\r\nabc\r\n0\r\n\r\n"),
        (b"Content_Length: 500", SMUGGLED),
        (b"Transfer-Encoding: \x0bchunked", b"0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked;q=1", b"0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: \r\nContent-Length: 4", b"0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked", b"3;a\nabc\r\n0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked", b"3\nabc\n0\n\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked", b"3 \r\nabc\r\n0\r\n\r\n" + SMUGGLED),
        (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n" + SMUGGLED),
        (b"Content-Length: 4\r\nConnection: Content-Length", b"abcd" + SMUGGLED),
        (b"X: 1\nContent-Length: 4", b"abcd" + SMUGGLED),
        (
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ),
        (b"X: 1\r\n continued: 2", b""),
        (b"X: a\rb", b""),
    ],
)
def test_smuggled_requests_reach_no_upstream(
    process: Process, client: Client, upstream: Upstream, head: bytes, body: bytes
) -> None:
    request = b"POST /users/login HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n" + body
    process.raw(request + b"GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    # At most the outer request, with a single length, reached the upstream.
    assert [seen.target for seen in upstream.seen] in ([], ["/users/login"])
    for seen in upstream.seen:
        assert seen.header("Transfer-Encoding") is None
        assert int(seen.header("Content-Length") or 0) == len(seen.body)


def test_the_openapi_document_is_served_at_the_edge_and_nothing_else_of_the_admin_port(
    process: Process, client: Client
) -> None:
    document = client.get("/openapi.json")
    assert document.json["info"]["title"] == "Souk"
    assert (document.header("Server"), str(process.admin_port).encode() in document.body) == ("souk-gateway", False)
    assert client.get("/status").status == 404


def test_the_admin_port_counts_requests(process: Process, client: Client) -> None:
    client.get("/products/")
    text = Client(process.admin_port).get("/metrics").body
    assert b'service="products",route="products-read",code="200",source="service"' in text


def test_a_killed_gateway_leaves_its_ports_to_the_next(process: Process, client: Client) -> None:
    process.running.send_signal(signal.SIGKILL)
    process.running.wait(DEADLINE_SECONDS)
    process.start()
    assert client.get("/products/").status == 200


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (
            lambda path: path.write_text('_format_version: "3.0"\nservices: [{hots: x}]'),
            "kong.yml: line 2: services[0].hots: ",
        ),
        (lambda path: path.unlink(), "SOUK_KONG_FILE: "),
    ],
)
def test_an_invalid_file_ends_the_process_with_an_error_line(
    tmp_path: Path, process: Process, damage: Callable[[Path], None], line: str
) -> None:
    file = tmp_path / "kong.yml"
    file.write_text("")
    damage(file)
    environment = process.environment | {"SOUK_KONG_FILE": str(file)}
    ended = subprocess.run(
        **process.command("services.gateway") | {"env": environment}, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1
    assert line in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_setting_ends_the_process_with_an_error_line(process: Process) -> None:
    environment = {"PATH": os.environ["PATH"]}
    ended = subprocess.run(
        **process.command("services.gateway") | {"env": environment}, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1
    assert "SOUK_KONG_FILE: is required" in ended.stderr
