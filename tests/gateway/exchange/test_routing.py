"""Section 3 of Kong's behaviour: which route wins, and which path its service gets."""

from typing import Any

import pytest

from tests.gateway.conftest import Serve
from tests.gateway.upstream import Client, Upstream

LOWER, GREATER = "10000000-0000-4000-8000-000000000000", "f0000000-0000-4000-8000-000000000000"


def routes(serve: Serve, *routes: dict[str, Any]) -> Client:
    """Each route has its own service, with the route's name as its path, so the upstream sees which route won."""
    services = [
        {"name": route["name"], "url": f"http://{{upstream}}/{route['name']}", "routes": [route]} for route in routes
    ]
    return serve({"services": services})


def winner(upstream: Upstream) -> str:
    return upstream.last.target.split("/")[1]


@pytest.mark.parametrize(
    ("stronger", "weaker", "request_"),
    [
        pytest.param({"paths": ["/a/b"]}, {"paths": ["/a"]}, {}, id="longer prefix"),
        pytest.param({"paths": ["~/a/.*"]}, {"paths": ["/a/b"]}, {}, id="regex over prefix"),
        pytest.param({"paths": ["/a"], "hosts": ["h.test"]}, {"paths": ["/a/b"]}, {}, id="host and path over path"),
        pytest.param({"paths": ["/a"], "methods": ["GET"]}, {"paths": ["/a/b"]}, {}, id="path and method over path"),
        pytest.param(
            {"paths": ["/a"], "headers": {"x-a": ["1"], "x-b": ["2"]}},
            {"paths": ["/a/b"], "headers": {"x-a": ["1"]}},
            {"x-a": "1", "x-b": "2"},
            id="more headers",
        ),
        pytest.param(
            {"paths": ["~/a"], "regex_priority": 2}, {"paths": ["~/a/b"], "regex_priority": 1}, {}, id="regex priority"
        ),
        pytest.param({"paths": ["/a"], "id": GREATER}, {"paths": ["/a"], "id": LOWER}, {}, id="greatest id"),
        pytest.param({"paths": ["~/a"]}, {"methods": ["GET"], "paths": ["/a"]}, {}, id="regex over method and path"),
        pytest.param(
            {"hosts": ["h.test"]}, {"paths": ["/a"], "methods": ["GET"]}, {}, id="plain host over path and method"
        ),
        pytest.param({"paths": ["/a"]}, {"hosts": ["*.test"]}, {}, id="path over wildcard host by its length"),
        pytest.param({"paths": ["~/a"]}, {"hosts": ["*.test"], "paths": ["/a"]}, {}, id="regex over wildcard host"),
        pytest.param(
            {"methods": ["GET"], "hosts": ["*.test"], "paths": ["/a"], "headers": {"x-a": ["1"]}},
            {"hosts": ["h.test"], "paths": ["~/a"]},
            {"x-a": "1"},
            id="four kinds over everything",
        ),
    ],
)
def test_the_stronger_route_wins(
    serve: Serve, upstream: Upstream, stronger: dict[str, Any], weaker: dict[str, Any], request_: dict[str, str]
) -> None:
    client = routes(serve, {"name": "weaker", **weaker}, {"name": "stronger", **stronger})
    assert client.get("/a/b", {"Host": "h.test", **request_}).status == 200
    assert winner(upstream) == "stronger"
    # The winner is merely stronger: the other route matches too.
    alone = routes(serve, {"name": "weaker", **weaker})
    assert alone.get("/a/b", {"Host": "h.test", **request_}).status == 200


@pytest.mark.parametrize(
    ("route", "path", "headers", "matches"),
    [
        ({"paths": ["/r1"]}, "/r1foo", {}, True),
        ({"paths": ["/r1/"]}, "/r1", {}, False),
        ({"paths": ["/r1"]}, "/R1", {}, False),
        ({"paths": ["/caf\u00e9"]}, "/caf%c3%a9", {}, True),
        ({"paths": ["/a b"]}, "/a%20b", {}, True),
        ({"paths": ["/x", "/y"]}, "/y", {}, True),
        ({"paths": [r"~/u/(?<id>\d+)$"]}, "/u/12", {}, True),
        ({"paths": [r"~/u/\d+$"]}, "/u/12/x", {}, False),
        ({"paths": [r"~/u/\d+$"]}, "/u/12%0A", {}, False),
        ({"paths": [r"~/u/\d+"]}, "/v/u/12", {}, False),
        ({"paths": ["/a/b"]}, "/a//x/../b", {}, True),
        ({"paths": ["/a/b"]}, "/a/%62", {}, True),
        ({"paths": ["/a/b"]}, "/a%2Fb", {}, False),
        ({"paths": ["/a%2Fb"]}, "/a%2fb", {}, True),
        ({"methods": ["PUT"]}, "/", {}, False),
        ({"methods": ["PUT", "GET"]}, "/", {}, True),
        ({"hosts": ["a.test"]}, "/", {"Host": "a.test:8000"}, True),
        ({"hosts": ["a.test"]}, "/", {"Host": "A.TEST"}, False),
        ({"hosts": ["a.test:8000"]}, "/", {"Host": "a.test:8000"}, True),
        ({"hosts": ["a.test:8000"]}, "/", {"Host": "a.test"}, False),
        ({"hosts": ["*.x.test"]}, "/", {"Host": "a.b.x.test"}, True),
        ({"hosts": ["*.x.test"]}, "/", {"Host": "x.test"}, False),
        ({"hosts": ["x.*"]}, "/", {"Host": "x.org"}, True),
        ({"headers": {"X-V": ["One"]}}, "/", {"x-v": "oNE"}, True),
        ({"headers": {"X-V": ["1", "2"]}}, "/", {"x-v": "2"}, True),
        ({"headers": {"X-V": ["1"]}}, "/", {}, False),
        ({"headers": {"X-V": ["1"], "X-W": ["1"]}}, "/", {"x-v": "1"}, False),
        ({"headers": {"X-V": ["~*^v[0-9]$"]}}, "/", {"x-v": "V7"}, True),
        ({"headers": {"X-V": ["~*^v[0-9]$"]}}, "/", {"x-v": "v77"}, False),
    ],
)
def test_a_route_matches_when_every_kind_of_criterion_does(
    serve: Serve, route: dict[str, Any], path: str, headers: dict[str, str], matches: bool
) -> None:
    client = routes(serve, {"name": "r", **route})
    assert client.get(path, headers).status == (200 if matches else 404)


@pytest.mark.parametrize(
    ("service_path", "route_path", "strip", "path", "sent"),
    [
        *[(base, "/r", True, path, sent) for base in ("", "/") for path, sent in zip(
            ("/r", "/r/", "/rx", "/r/x"), ("/", "/", "/x", "/x"), strict=True)],
        *[(base, "/r", True, path, sent) for base in ("/s", "/s/") for path, sent in zip(
            ("/r", "/r/", "/rx", "/r/x"), ("/s", "/s/", "/s/x", "/s/x"), strict=True)],
        *[(base, "/r", False, path, sent) for base in ("/s", "/s/") for path, sent in zip(
            ("/r", "/r/", "/rx", "/r/x"), ("/s/r", "/s/r/", "/s/rx", "/s/r/x"), strict=True)],
        ("/s", "/", True, "/", "/s"),
        ("/s/", "/", True, "/", "/s/"),
        ("/s", "/", False, "/", "/s"),
        ("", "/", False, "/x/", "/x/"),
        ("/s", r"~/v\d+", True, "/v12/x", "/s/x"),
        ("", "/r1", True, "/r1//x/../y", "/y"),
        ("", "/", False, "/%41/%7e/%20/%2f/%e9", "/A/~/%20/%2F/%E9"),
        ("", "/", False, "/x/..", "/"),
        ("", "/", False, "/x/./y/../", "/x/"),
        ("", "/", False, "/x?a=%2f&b=c|d&&e", "/x?a=%2f&b=c|d&&e"),
        ("", "/", False, "/x?", "/x?"),
        ("", "/", False, "/100%25", "/100%25"),
    ],
)  # fmt: skip
def test_the_service_gets_its_own_path_joined_to_the_rest(
    serve: Serve, upstream: Upstream, service_path: str, route_path: str, strip: bool, path: str, sent: str
) -> None:
    route = {"paths": [route_path], "strip_path": strip}
    client = serve({"services": [{"url": "http://{upstream}" + service_path, "routes": [route]}]})
    assert client.get(path).status == 200
    assert upstream.last.target == sent


@pytest.mark.parametrize(
    ("route_path", "path", "prefix"), [("/r", "/r/x", "/r"), (r"~/v\d+", "/v12/x", "/v12"), ("/", "/x", None)]
)
def test_the_service_gets_the_stripped_prefix(
    serve: Serve, upstream: Upstream, route_path: str, path: str, prefix: str | None
) -> None:
    client = serve({"services": [{"url": "http://{upstream}", "routes": [{"paths": [route_path]}]}]})
    client.get(path)
    assert upstream.last.header("X-Forwarded-Prefix") == prefix


def test_a_route_without_a_service_is_a_503(serve: Serve) -> None:
    reply = serve("routes: [{paths: [/]}]").get("/")
    assert (reply.status, reply.message) == (503, "no Service found with those values")


def test_the_routes_of_a_disabled_service_do_not_exist(serve: Serve) -> None:
    client = serve("services: [{url: 'http://{upstream}', enabled: false, routes: [{paths: [/]}]}]")
    assert client.get("/").status == 404


def test_a_route_for_https_requires_an_upgrade(serve: Serve) -> None:
    reply = serve("services: [{url: 'http://{upstream}', routes: [{paths: [/], protocols: [https]}]}]").get("/")
    assert (reply.status, reply.message) == (426, "Please use HTTPS protocol")
    assert reply.header("Upgrade") == "TLS/1.2, HTTP/1.1"


def test_a_route_for_https_redirects_if_configured(serve: Serve) -> None:
    route = "{paths: [/], protocols: [https], https_redirect_status_code: 301}"
    client = serve(f"services: [{{url: 'http://{{upstream}}', routes: [{route}]}}]")
    reply = client.get("/a%2F?b=1", {"Host": "shop.test:8000"})
    assert (reply.status, reply.header("Location")) == (301, "https://shop.test/a%2F?b=1")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/ab?$", "/a"),
        ("/ab*$", "/a"),
        ("/ab{0,2}$", "/a"),
        ("/ab+$", "/abb"),
        ("/a/|/b/", "/b/"),
        (r"/a\.json$", "/a.json"),
        ("/a[bc]$", "/ac"),
    ],
)
def test_a_regex_matches_all_that_it_describes(serve: Serve, upstream: Upstream, pattern: str, path: str) -> None:
    client = routes(serve, {"name": "found", "paths": [f"~{pattern}"], "strip_path": False})
    assert client.get(path).status == 200
    assert client.get("/other").status == 404
