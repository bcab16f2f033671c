"""Section 4 of Kong's behaviour: headers to the upstream and to the client."""

import re

import pytest

from tests.gateway.conftest import InThread, Serve
from tests.gateway.upstream import Client, Response, Upstream


def test_the_upstream_gets_forwarding_headers(open_client: Client, upstream: Upstream) -> None:
    open_client.get("/a/b?q=1", {"Host": "shop.test:8080", "X-Forwarded-For": "9.9.9.9"})
    seen = upstream.last
    assert seen.header("Host") == upstream.address
    assert seen.header("X-Forwarded-For") == "9.9.9.9, 127.0.0.1"
    assert seen.header("X-Real-IP") == "127.0.0.1"
    assert seen.header("X-Forwarded-Proto") == "http"
    assert seen.header("X-Forwarded-Host") == "shop.test"
    assert seen.header("X-Forwarded-Port") == str(open_client.port)
    assert seen.header("X-Forwarded-Path") == "/a/b"
    assert seen.header("X-Forwarded-Prefix") is None
    assert seen.header("Via") == "1.1 souk-gateway"
    assert re.fullmatch("[0-9a-f]{32}", seen.header("X-Kong-Request-Id") or "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Real-IP", "6.6.6.6"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Port", "1"),
        ("X-Forwarded-Path", "/evil"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Kong-Request-Id", "mine"),
    ],
)
def test_a_client_cannot_set_the_gateways_own_headers(
    open_client: Client, upstream: Upstream, name: str, value: str
) -> None:
    open_client.get("/", {name: value})
    assert upstream.last.header(name) != value


def test_what_a_trusted_proxy_forwards_is_kept_and_not_repeated(upstream: Upstream) -> None:
    edge = InThread(trusted_ips=["127.0.0.0/8"])
    client = edge.load(f"services: [{{url: 'http://{upstream.address}', routes: [{{paths: [/]}}]}}]")
    sent = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "shop.example",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Path": "/shop/a",
        "X-Forwarded-Prefix": "/shop",
    }
    client.get("/a", sent)
    edge.stop()
    forwarded = [(name, value) for name, value in upstream.last.headers if name in sent]
    assert sorted(forwarded) == sorted(sent.items())


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ({"Authorization": "Digest a, b"}, True),
        ({"Cookie": "a=1; b=2"}, True),
        ({"Proxy-Authorization": "Basic eDp5"}, True),
        ({"X-Under_Score": "x"}, True),
        ({"X_Real_IP": "6.6.6.6"}, False),
        ({"Keep-Alive": "timeout=5"}, False),
        ({"Proxy-Connection": "keep-alive"}, False),
        ({"Upgrade": "websocket"}, False),
        ({"TE": "gzip"}, False),
        ({"X-Hop": "1", "Connection": "close, X-Hop"}, False),
    ],
)
def test_hop_by_hop_headers_are_not_forwarded(
    open_client: Client, upstream: Upstream, sent: dict[str, str], arrives: bool
) -> None:
    open_client.get("/", sent)
    name, value = next(iter(sent.items()))
    assert upstream.last.header(name) == (value if arrives else None)
    assert upstream.last.header("Connection") == "keep-alive"


def test_te_survives_as_trailers_only(open_client: Client, upstream: Upstream) -> None:
    open_client.get("/", {"TE": "trailers, gzip"})
    assert upstream.last.header("TE") == "trailers"


def test_an_earlier_via_is_kept(open_client: Client, upstream: Upstream) -> None:
    upstream.responses = [Response(headers=[("Via", "1.1 inner")])]
    reply = open_client.get("/", {"Via": "1.0 outer"})
    assert upstream.last.header("Via") == "1.0 outer, 1.1 souk-gateway"
    assert reply.header("Via") == "1.1 inner, 1.1 souk-gateway"


def test_the_client_gets_the_upstreams_headers_and_the_gateways(open_client: Client, upstream: Upstream) -> None:
    headers = [
        ("Server", "origin"),
        ("Location", "/there"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("Keep-Alive", "timeout=5"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("X-Kong-Request-Id", "theirs"),
        ("Proxy-Authenticate", "Basic"),
    ]
    upstream.responses = [Response(201, headers, b'{"id": 1}')]
    reply = open_client.get("/")
    assert (reply.status, reply.body) == (201, b'{"id": 1}')
    assert reply.header("Location") == "/there"
    assert reply.all("Set-Cookie") == ["a=1", "b=2"]
    assert reply.header("Proxy-Authenticate") == "Basic"
    assert reply.header("Keep-Alive") is None
    assert reply.header("X-Hop") is None
    assert reply.all("X-Kong-Request-Id") == [upstream.last.header("X-Kong-Request-Id")]
    assert int(reply.header("X-Kong-Upstream-Latency") or "") >= 0
    assert int(reply.header("X-Kong-Proxy-Latency") or "") >= 0
    assert reply.header("X-Kong-Response-Latency") is None


def test_the_gateways_own_responses_are_labelled(serve: Serve) -> None:
    reply = serve("services: []").get("/")
    assert reply.header("Server") == "souk-gateway"
    assert reply.header("X-Kong-Request-Id") == reply.json["request_id"]
    assert int(reply.header("X-Kong-Response-Latency") or "") >= 0
    assert reply.header("Via") is None
    assert reply.header("X-Kong-Upstream-Latency") is None


def test_preserve_host_passes_on_the_clients_host(serve: Serve, upstream: Upstream) -> None:
    client = serve("services: [{url: 'http://{upstream}', routes: [{paths: [/], preserve_host: true}]}]")
    client.get("/", {"Host": "shop.test:8080"})
    assert upstream.last.header("Host") == "shop.test:8080"


def test_an_upstream_may_have_its_own_host_header(serve: Serve, upstream: Upstream) -> None:
    client = serve(
        "services: [{host: up, routes: [{paths: [/]}]}]\n"
        "upstreams: [{name: up, host_header: inner.test, targets: [{target: '{upstream}'}]}]"
    )
    client.get("/")
    assert upstream.last.header("Host") == f"inner.test:{upstream.port}"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PROPFIND"])
def test_any_method_passes_a_route_without_methods(open_client: Client, upstream: Upstream, method: str) -> None:
    reply = open_client.send(method, "/x")
    assert (reply.status, upstream.last.method) == (200, method)


@pytest.mark.parametrize("status", [204, 304, 404, 409, 500, 503])
def test_the_upstreams_status_is_unchanged(open_client: Client, upstream: Upstream, status: int) -> None:
    upstream.responses = [Response(status, [("ETag", '"1"')], b"")]
    reply = open_client.get("/")
    assert (reply.status, reply.header("ETag")) == (status, '"1"')
