"""Section 5 of Kong's behaviour: its own errors, and the requests it refuses."""

import pytest

from services.gateway.app import Gateway
from tests.gateway.conftest import Serve
from tests.gateway.upstream import Client, Upstream

UNREACHABLE = "services: [{url: 'http://127.0.0.1:1', retries: 0, routes: [{paths: [/]}]}]"


@pytest.mark.parametrize(
    ("accept", "content_type", "begins"),
    [
        (
            None,
            "application/json; charset=utf-8",
            '{\n  "message":"no Route matched with those values",\n  "request_id":"',
        ),
        ("*/*", "application/json; charset=utf-8", '{\n  "message"'),
        ("application/json", "application/json; charset=utf-8", '{\n  "message"'),
        ("image/png", "application/json; charset=utf-8", '{\n  "message"'),
        ("text/plain", "text/plain; charset=utf-8", "no Route matched with those values\nrequest_id: "),
        ("text/html, */*;q=0.1", "text/html; charset=utf-8", "<!doctype html>"),
        ("text/html;q=0.2, application/xml;q=0.9", "application/xml; charset=utf-8", "<?xml"),
        ("text/html;q=x, text/plain;q=0.5", "text/plain; charset=utf-8", "no Route"),
    ],
)
def test_an_error_has_the_format_that_the_client_accepts(
    serve: Serve, accept: str | None, content_type: str, begins: str
) -> None:
    reply = serve("services: []").get("/", {"Accept": accept} if accept else {})
    assert reply.status == 404
    assert reply.header("Content-Type") == content_type
    assert reply.body.decode().startswith(begins)


def test_an_upstream_failure_is_reported_as_text_by_default(serve: Serve) -> None:
    client = serve(UNREACHABLE)
    plain, json = client.get("/"), client.get("/", {"Accept": "*/*"})
    assert plain.body.startswith(b"An invalid response was received from the upstream server\n")
    assert (json.status, json.message) == (502, "An invalid response was received from the upstream server")
    assert json.header("Via") == "1.1 souk-gateway"
    assert json.header("Server") == "souk-gateway"
    assert json.header("X-Kong-Proxy-Latency") is not None


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/%zz", {}, 400),
        ("/%00", {}, 400),
        ("*", {}, 400),
        ("/", {"Host": "a b"}, 400),
        ("/", {"Host": "a,b"}, 400),
        ("/", {"Host": "a/b"}, 400),
        ("/", {"Host": ""}, 400),
        ("/", {"Host": "[::1]:80"}, 200),
        ("/", {"Content-Length": "0", "Transfer-Encoding": "chunked"}, 400),
        ("/", {"Transfer-Encoding": "gzip, chunked"}, 501),
        ("/" + "x" * 8200, {}, 414),
        ("/?" + "x" * 8200, {}, 414),
        ("/", {"X-Long": "x" * 8200}, 400),
    ],
)
def test_unwanted_requests_reach_no_upstream(
    open_client: Client, upstream: Upstream, path: str, headers: dict[str, str], status: int
) -> None:
    reply = open_client.get(path, headers)
    assert reply.status == status
    assert len(upstream.seen) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    "twice", ["Authorization: Bearer a", "Host: a", "Content-Length: 0", "Transfer-Encoding: chunked"]
)
def test_ambiguous_requests_reach_no_upstream(open_client: Client, upstream: Upstream, twice: str) -> None:
    host = "" if twice.startswith("Host") else "Host: a\r\n"
    response = open_client.raw(f"GET / HTTP/1.1\r\n{host}{twice}\r\n{twice}\r\nConnection: close\r\n\r\n".encode())
    assert response.startswith(b"HTTP/1.1 400 ")
    assert not upstream.seen


@pytest.mark.parametrize(
    "path",
    [
        "/products/../internal/x",
        "/products/%2e%2e/internal/x",
        "/products/%2E./internal/x",
        "/products//../internal/x",
        "/products/./../internal/x",
        "//internal/x",
        "/internal/x",
        "/./internal/x",
    ],
)
def test_no_spelling_of_a_path_escapes_its_route(serve: Serve, upstream: Upstream, path: str) -> None:
    client = serve("services: [{url: 'http://{upstream}', routes: [{paths: [/products], strip_path: false}]}]")
    assert client.get(path).status == 404
    assert not upstream.seen


@pytest.mark.parametrize("path", ["/products/%252e%252e/x", "/products/..%2Finternal", "/products/%2F..%2Finternal"])
def test_an_escape_is_sent_as_it_was_matched(serve: Serve, upstream: Upstream, path: str) -> None:
    client = serve("services: [{url: 'http://{upstream}', routes: [{paths: [/products], strip_path: false}]}]")
    assert client.get(path).status == 200
    assert upstream.last.target == path


def test_an_internal_error_is_a_500_without_a_traceback(
    gateway: Gateway, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serve("services: []")
    monkeypatch.setattr(gateway.edge, "router", None)  # forces an internal error
    reply = client.get("/")
    assert (reply.status, reply.message) == (500, "An unexpected error occurred")
    assert b"Traceback" not in reply.body
