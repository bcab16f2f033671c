"""Smaller plugins, and which entry of a plugin runs: sections 2, 9, 11 and 14 of Kong's behaviour."""

import re
from typing import Any

import jwt
import pytest
from prometheus_client import generate_latest

from services.gateway.config.errors import InvalidConfiguration
from tests.gateway.conftest import Serve
from tests.gateway.upstream import Client, Response, Upstream

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def with_plugin(serve: Serve, name: str, **config: Any) -> Client:
    plugin = {"name": name, "config": config}
    return serve(
        {
            "services": [{"name": "s", "url": "http://{upstream}", "routes": [{"name": "r", "paths": ["/a"]}]}],
            "plugins": [plugin],
        }
    )


def test_a_request_gets_an_id_with_a_counter(serve: Serve, upstream: Upstream) -> None:
    client = with_plugin(serve, "correlation-id")
    ids = []
    for _ in range(2):
        assert client.get("/a").header("Kong-Request-ID") is None
        ids.append(upstream.last.header("Kong-Request-ID") or "")
    assert all(re.fullmatch(rf"{UUID}#\d+", id_) for id_ in ids)
    assert [id_.split("#")[1] for id_ in ids] == ["1", "2"]


@pytest.mark.parametrize(("sent", "kept"), [("mine", True), ("", False), (None, False)])
@pytest.mark.parametrize("path", ["/a", "/nowhere"])
def test_an_id_is_kept_and_returned(serve: Serve, upstream: Upstream, path: str, sent: str | None, kept: bool) -> None:
    client = with_plugin(serve, "correlation-id", header_name="X-ID", generator="uuid", echo_downstream=True)
    returned = client.get(path, {} if sent is None else {"X-ID": sent}).header("X-ID") or ""
    assert returned == "mine" if kept else re.fullmatch(UUID, returned)
    assert path != "/a" or upstream.last.header("X-ID") == returned


@pytest.mark.parametrize(
    ("limit", "body", "headers", "status"),
    [
        ({"allowed_payload_size": 3, "size_unit": "bytes"}, b"abc", {}, 200),
        ({"allowed_payload_size": 3, "size_unit": "bytes"}, b"abcd", {}, 413),
        ({"allowed_payload_size": 3, "size_unit": "bytes"}, iter([b"ab", b"c"]), {}, 200),
        ({"allowed_payload_size": 3, "size_unit": "bytes"}, iter([b"ab", b"cd"]), {}, 413),
        ({"allowed_payload_size": 3, "size_unit": "bytes"}, b"abcd", {"Expect": "100-continue"}, 417),
        ({"allowed_payload_size": 1, "size_unit": "kilobytes"}, b"x" * 1024, {}, 200),
        ({"allowed_payload_size": 1, "size_unit": "kilobytes"}, b"x" * 1025, {}, 413),
        ({"allowed_payload_size": 1}, b"x" * 2**20, {}, 200),
        ({"allowed_payload_size": 1}, b"x" * (2**20 + 1), {}, 413),
        ({"require_content_length": True}, None, {}, 411),
        ({"require_content_length": True}, b"", {"Content-Length": "0"}, 200),
        ({"require_content_length": True}, iter([b"a"]), {}, 200),
    ],
)
def test_a_body_has_its_limit(
    serve: Serve, upstream: Upstream, limit: dict[str, Any], body: Any, headers: dict[str, str], status: int
) -> None:
    client = with_plugin(serve, "request-size-limiting", **limit)
    chunked = {"encode_chunked": True} if hasattr(body, "__next__") else {}
    method = "GET" if body is None else "POST"
    reply = client.send(method, "/a", headers | ({"Transfer-Encoding": "chunked"} if chunked else {}), body, **chunked)
    assert reply.status == status
    assert len(upstream.seen) == (status == 200)
    if status in (413, 417):
        assert reply.message == "Request size limit exceeded"


@pytest.mark.parametrize(
    ("config", "status", "content_type", "body"),
    [
        ({}, 503, "application/json; charset=utf-8", b'{"message":"Service unavailable"}'),
        ({"status_code": 410, "message": "gone"}, 410, "application/json; charset=utf-8", b'{"message":"gone"}'),
        ({"status_code": 404, "body": "no", "content_type": "text/x"}, 404, "text/x", b"no"),
        ({"body": "no"}, 503, None, b"no"),
    ],
)
def test_a_terminated_request_is_not_forwarded(
    serve: Serve, upstream: Upstream, config: dict[str, Any], status: int, content_type: str | None, body: bytes
) -> None:
    reply = with_plugin(serve, "request-termination", **config).get("/a")
    assert (reply.status, reply.header("Content-Type"), reply.body) == (status, content_type, body)
    assert not upstream.seen


@pytest.mark.parametrize("config", [{"message": "m", "body": "b"}, {"content_type": "text/x"}, {"status_code": 99}])
def test_a_contradictory_termination_is_rejected(serve: Serve, config: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfiguration):
        with_plugin(serve, "request-termination", **config)


def test_exchanges_are_counted_and_timed(serve: Serve, upstream: Upstream) -> None:
    client = with_plugin(serve, "prometheus", status_code_metrics=True, latency_metrics=True)
    upstream.responses = [Response(418)]
    client.get("/a")
    client.get("/nowhere")
    text = generate_latest().decode()
    assert (
        'kong_http_requests_total{code="418",consumer="",route="r",service="s",source="service",workspace="default"} 1.0'
        in text
    )
    assert 'kong_upstream_latency_ms_bucket{le="60000.0",route="r",service="s",workspace="default"}' in text
    assert "nowhere" not in text


def entry(place: str) -> dict[str, Any]:
    """A correlation-id entry that names its place in its header."""
    return {"name": "correlation-id", "config": {"header_name": f"X-{place}"}}


@pytest.mark.parametrize(
    ("places", "wins"),
    [
        (["global"], "global"),
        (["global", "service"], "service"),
        (["global", "service", "route"], "route"),
        (["route", "service-and-route"], "service-and-route"),
    ],
)
def test_the_most_specific_entry_runs_alone(serve: Serve, upstream: Upstream, places: list[str], wins: str) -> None:
    scopes = {"global": {}, "service": {"service": "s"}, "route": {"route": "r"}}
    scopes["service-and-route"] = scopes["service"] | scopes["route"]
    client = serve(
        {
            "services": [{"name": "s", "url": "http://{upstream}", "routes": [{"name": "r", "paths": ["/"]}]}],
            "plugins": [entry(place) | scopes[place] for place in places],
        }
    )
    client.get("/")
    assert [place for place in places if upstream.last.header(f"X-{place}")] == [wins]


def test_a_less_specific_entry_replaces_a_disabled_one(serve: Serve, upstream: Upstream) -> None:
    plugins = [entry("global"), entry("route") | {"route": "r", "enabled": False}]
    serve(
        {
            "services": [{"url": "http://{upstream}", "routes": [{"name": "r", "paths": ["/"]}]}],
            "plugins": plugins,
        }
    ).get("/")
    assert upstream.last.header("X-global") is not None


def test_a_consumers_own_entry_runs_once_the_consumer_is_identified(serve: Serve) -> None:
    limit = {"name": "request-size-limiting", "config": {"allowed_payload_size": 1, "size_unit": "bytes"}}
    secret = "a secret that is long enough for HS256!"
    client = serve(
        {
            "services": [{"url": "http://{upstream}", "routes": [{"paths": ["/"]}]}],
            "plugins": [{"name": "jwt"}, {"name": "request-size-limiting"}],
            "consumers": [
                {"username": "small", "jwt_secrets": [{"key": "small", "secret": secret}], "plugins": [limit]},
                {"username": "large", "jwt_secrets": [{"key": "large", "secret": secret}]},
            ],
        }
    )
    for name, status in (("small", 413), ("large", 200)):
        headers = {"Authorization": f"Bearer {jwt.encode({'iss': name}, secret, 'HS256')}"}
        assert client.post("/", b"two", headers).status == status


def test_authentication_comes_before_rate_limits(serve: Serve) -> None:
    plugins = [{"name": "request-size-limiting", "config": {"allowed_payload_size": 0}}, {"name": "jwt"}]
    client = serve({"services": [{"url": "http://{upstream}", "routes": [{"paths": ["/"]}]}], "plugins": plugins})
    assert client.post("/", b"body").status == 401
