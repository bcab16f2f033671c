"""Section 10 of Kong's behaviour: the cors plugin."""

from typing import Any

import pytest

from tests.gateway.conftest import Serve
from tests.gateway.upstream import Client, Reply, Response, Upstream

ORIGIN = "https://shop.test"
PREFLIGHT = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}


def sharing(serve: Serve, **config: Any) -> Client:
    """Global cors, a route that requires a token, and one that does not."""
    routes = [
        {"paths": ["/closed"], "plugins": [{"name": "jwt"}]},
        {"paths": ["/open"]},
        {"paths": ["/get"], "methods": ["GET"]},
    ]
    return serve(
        {"services": [{"url": "http://{upstream}", "routes": routes}], "plugins": [{"name": "cors", "config": config}]}
    )


def shared(reply: Reply) -> dict[str, str]:
    """The cors headers, without their prefix."""
    prefix = "access-control-"
    return {
        name.lower().removeprefix(prefix): value for name, value in reply.headers if name.lower().startswith(prefix)
    }


def test_a_preflight_gets_its_response_before_authentication(serve: Serve, upstream: Upstream) -> None:
    reply = sharing(serve).send("OPTIONS", "/closed", PREFLIGHT | {"Access-Control-Request-Headers": "X-A, x-b"})
    assert (reply.status, reply.body, reply.header("Content-Length")) == (200, b"", "0")
    assert shared(reply) == {
        "allow-origin": "*",
        "allow-methods": "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT",
        "allow-headers": "X-A, x-b",
    }
    assert not upstream.seen


def test_a_preflight_response_lists_what_is_configured(serve: Serve) -> None:
    client = sharing(
        serve,
        origins=[ORIGIN],
        methods=["GET", "PUT"],
        headers=["X-A", "X-B"],
        max_age=60,
        credentials=True,
        private_network=True,
        exposed_headers=["X-C"],
    )
    reply = client.send("OPTIONS", "/open", PREFLIGHT | {"Access-Control-Request-Private-Network": "true"})
    assert shared(reply) == {
        "allow-origin": ORIGIN,
        "allow-methods": "GET,PUT",
        "allow-headers": "X-A,X-B",
        "max-age": "60",
        "allow-credentials": "true",
        "allow-private-network": "true",
    }


@pytest.mark.parametrize("headers", [{}, {"Origin": ORIGIN}, {"Access-Control-Request-Method": "PUT"}])
def test_other_options_are_proxied(serve: Serve, upstream: Upstream, headers: dict[str, str]) -> None:
    assert sharing(serve).send("OPTIONS", "/open", headers).body == b"{}"
    assert upstream.last.method == "OPTIONS"


def test_a_preflight_needs_a_route(serve: Serve) -> None:
    reply = sharing(serve).send("OPTIONS", "/get", PREFLIGHT)
    assert (reply.status, shared(reply)) == (404, {"allow-origin": "*"})


def test_a_preflight_may_be_left_to_the_upstream(serve: Serve, upstream: Upstream) -> None:
    reply = sharing(serve, preflight_continue=True).send("OPTIONS", "/open", PREFLIGHT)
    assert (upstream.last.method, shared(reply)) == ("OPTIONS", {})


@pytest.mark.parametrize(
    ("config", "origin", "headers", "varies"),
    [
        ({}, None, {"allow-origin": "*"}, False),
        ({}, ORIGIN, {"allow-origin": "*"}, False),
        ({"origins": ["*"]}, ORIGIN, {"allow-origin": "*"}, False),
        ({"credentials": True}, None, {"allow-origin": "*"}, False),
        ({"credentials": True}, ORIGIN, {"allow-origin": ORIGIN, "allow-credentials": "true"}, True),
        ({"origins": ["https://a.test"]}, ORIGIN, {"allow-origin": "https://a.test"}, True),
        ({"origins": ["https://a.test", ORIGIN]}, ORIGIN, {"allow-origin": ORIGIN}, True),
        ({"origins": ["https://a.test", ORIGIN]}, ORIGIN + ":443", {"allow-origin": ORIGIN}, True),
        ({"origins": ["https://a.test", ORIGIN]}, None, {}, True),
        ({"origins": ["https://a.test", "https://b.test"], "credentials": True}, ORIGIN, {"allow-credentials": "true"}, True),
        ({"origins": ["https://a.test", "*"]}, ORIGIN, {"allow-origin": "*"}, True),
        ({"origins": [r"https://\w+\.test"]}, ORIGIN, {"allow-origin": ORIGIN}, True),
        ({"origins": [r"https://\w+\.test"]}, ORIGIN + ".evil", {}, True),
        ({"origins": [r"^\w+\.test$"]}, "http://shop.test:8000", {"allow-origin": "http://shop.test:8000"}, True),
        ({"exposed_headers": ["ETag", "X-A"]}, ORIGIN, {"allow-origin": "*", "expose-headers": "ETag,X-A"}, False),
    ],
)  # fmt: skip
def test_every_response_names_the_allowed_origin(
    serve: Serve, upstream: Upstream, config: dict[str, Any], origin: str | None, headers: dict[str, str], varies: bool
) -> None:
    upstream.responses = [Response(headers=[("Vary", "Accept")])]
    reply = sharing(serve, **config).get("/open", {"Origin": origin} if origin else {})
    assert shared(reply) == headers
    assert reply.all("Vary") == (["Accept", "Origin"] if varies else ["Accept"])


def test_the_gateways_headers_override_the_upstreams(serve: Serve, upstream: Upstream) -> None:
    upstream.responses = [Response(headers=[("Access-Control-Allow-Origin", "https://evil.test")])]
    client = sharing(serve, origins=["https://a.test", "https://b.test"])
    assert "allow-origin" not in shared(client.get("/open", {"Origin": ORIGIN}))


@pytest.mark.parametrize(("path", "status"), [("/closed", 401), ("/nowhere", 404)])
def test_a_refusal_is_readable_by_the_requesting_page(serve: Serve, path: str, status: int) -> None:
    reply = sharing(serve).get(path, {"Origin": ORIGIN})
    assert (reply.status, shared(reply)) == (status, {"allow-origin": "*"})
