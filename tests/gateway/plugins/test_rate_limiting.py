"""Section 12 of Kong's behaviour: rate limits, in one process and in several that share a Redis."""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis

from services.gateway.config.errors import InvalidConfiguration
from services.gateway.plugins import counters
from services.gateway.plugins.windows import start_of
from tests.gateway.conftest import InThread, Serve
from tests.gateway.documents import plugin, through
from tests.gateway.upstream import Client, Upstream
from tests.redis import FAILURES, breakable

UNSCOPED = "00000000-0000-0000-0000-000000000000"


def limits(reply: Any) -> dict[str, str]:
    return {
        name.lower(): value for name, value in reply.headers if "ratelimit" in name.lower() or name == "Retry-After"
    }


@pytest.fixture
def fresh() -> dict[str, Any]:
    """A route with a new id, as local counters survive reloads."""
    return {"id": str(uuid.uuid4())}


def limited(serve: Serve, fresh: dict[str, Any], *more: dict[str, Any], **config: Any) -> Client:
    """A client of a new route with the plugin."""
    route = {"name": "r", "paths": ["/"], "plugins": [plugin("rate-limiting", **config), *more]} | fresh
    return serve({"services": [{"name": "s", "url": "http://{upstream}", "routes": [route]}]})


def test_a_request_over_the_limit_gets_retry_after(serve: Serve, fresh: dict[str, Any], upstream: Upstream) -> None:
    client = limited(serve, fresh, hour=2, day=10)
    first, second, third = (client.get("/") for _ in range(3))
    reset = 3600 - int(time.time()) % 3600
    assert [reply.status for reply in (first, second, third)] == [200, 200, 429]
    headers = limits(first)
    assert abs(int(headers.pop("ratelimit-reset")) - reset) <= 2
    assert headers == {
        "x-ratelimit-limit-hour": "2",
        "x-ratelimit-remaining-hour": "1",
        "x-ratelimit-limit-day": "10",
        "x-ratelimit-remaining-day": "9",
        "ratelimit-limit": "2",
        "ratelimit-remaining": "1",
    }
    headers = limits(third)
    assert third.message == "API rate limit exceeded"
    assert headers["retry-after"] == headers["ratelimit-reset"]
    # What the hour refuses, the day does not count.
    for refused in (headers, limits(client.get("/")), limits(client.get("/"))):
        assert (refused["x-ratelimit-remaining-hour"], refused["x-ratelimit-remaining-day"]) == ("0", "8")
    assert len(upstream.seen) == 2


def test_of_equally_tight_windows_the_longer_is_reported(serve: Serve, fresh: dict[str, Any]) -> None:
    headers = limits(limited(serve, fresh, hour=5, day=5).get("/"))
    assert (headers["ratelimit-remaining"], int(headers["ratelimit-reset"]) > 3600 or time.gmtime().tm_hour == 23) == (
        "4",
        True,
    )


def test_limit_headers_can_be_hidden(serve: Serve, fresh: dict[str, Any]) -> None:
    client = limited(serve, fresh, hour=1, hide_client_headers=True, error_code=503, error_message="later")
    replies = [client.get("/"), client.get("/")]
    assert [limits(reply) for reply in replies] == [{}, {}]
    assert (replies[1].status, replies[1].message) == (503, "later")


def test_counters_outlive_a_reload(serve: Serve, fresh: dict[str, Any]) -> None:
    statuses = [limited(serve, fresh, hour=1).get("/").status for _ in range(2)]
    assert statuses == [200, 429]


def test_a_count_belongs_to_the_scope_of_its_plugin(serve: Serve, upstream: Upstream) -> None:
    routes = [{"name": "a", "paths": ["/a"]}, {"name": "b", "paths": ["/b"]}]
    service = {"id": str(uuid.uuid4()), "url": "http://{upstream}", "routes": routes}
    shared = serve({"services": [service | {"plugins": [plugin("rate-limiting", hour=2)]}]})
    assert [shared.get(path).status for path in ("/a", "/b", "/a")] == [200, 200, 429]


@pytest.mark.parametrize(
    ("config", "askers"),
    [
        ({"limit_by": "ip"}, [("/", {"X": "1"}, 200), ("/", {"X": "2"}, 429)]),
        (
            {"limit_by": "header", "header_name": "X-Who"},
            [
                ("/", {"X-Who": "a"}, 200),
                ("/", {"X-Who": "b"}, 200),
                ("/", {"X-Who": "a"}, 429),
                ("/", {}, 200),
                ("/", {}, 429),
            ],
        ),
        ({"limit_by": "path", "path": "/p"}, [("/p", {}, 200), ("/q", {}, 200), ("/p", {}, 429), ("/x", {}, 429)]),
        ({"limit_by": "service"}, [("/", {}, 200), ("/", {}, 429)]),
        ({"limit_by": "credential"}, [("/", {}, 200), ("/", {}, 429)]),
    ],
)
def test_requests_are_counted_by_the_configured_identity(
    serve: Serve, fresh: dict[str, Any], config: dict[str, Any], askers: list[tuple[str, dict[str, str], int]]
) -> None:
    client = limited(serve, fresh, hour=1, **config)
    assert [client.get(path, headers).status for path, headers, _ in askers] == [status for *_, status in askers]


def test_consumers_are_counted_separately(serve: Serve) -> None:
    consumers = [{"username": name, "keyauth_credentials": [{"key": name}], "id": str(uuid.uuid4())} for name in "ab"]
    client = serve(through(plugin("key-auth"), plugin("rate-limiting", hour=1), consumers=consumers))
    assert [client.get("/", {"apikey": key}).status for key in ("a", "b", "a", "unknown")] == [200, 200, 429, 401]


def test_earlier_refusals_are_not_counted_and_later_ones_are(serve: Serve, fresh: dict[str, Any]) -> None:
    client = limited(serve, fresh, plugin("ip-restriction", deny=["127.0.0.1"]), hour=1)
    assert [client.get("/").status for _ in range(2)] == [403, 403]
    ended = limited(serve, fresh, plugin("request-termination"), hour=1)
    replies = [ended.get("/") for _ in range(2)]
    assert [reply.status for reply in replies] == [503, 429]
    assert limits(replies[0])["ratelimit-remaining"] == "0"


def test_a_count_is_kept_until_its_window_ends(
    serve: Serve, fresh: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are."""
    monkeypatch.setattr(counters, "PRUNED_ABOVE", 1)
    client = limited(serve, fresh, hour=1, limit_by="header", header_name="X-Who")
    assert [client.get("/", {"X-Who": who}).status for who in "abca"] == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, "at least one of these fields must be non-empty"),
        ({"hour": 10, "day": 5}, "The limit for day(5.0) cannot be lower than the limit for hour(10.0)"),
        ({"hour": 1, "policy": "cluster"}, "policy: cluster is not possible without a database"),
        ({"hour": 1, "policy": "redis"}, "policy: redis needs redis.host"),
        ({"hour": 1, "limit_by": "header"}, "limit_by: header needs header_name"),
        ({"hour": 1, "limit_by": "path"}, "limit_by: path needs path"),
        ({"hour": 0}, "config.hour: "),
    ],
)
def test_an_invalid_configuration_is_rejected(
    serve: Serve, fresh: dict[str, Any], config: dict[str, Any], error: str
) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        limited(serve, fresh, **config)
    assert error in str(refused.value)


@pytest.mark.parametrize(
    ("window", "start"),
    [
        ("second", "2026-11-25T10:20:30"),
        ("minute", "2026-11-25T10:20:00"),
        ("hour", "2026-11-25T10:00:00"),
        ("day", "2026-11-25T00:00:00"),
        ("month", "2026-11-01T00:00:00"),
        ("year", "2026-01-01T00:00:00"),
    ],
)
def test_windows_follow_the_calendar(window: str, start: str) -> None:
    moment = 1_795_602_030.5
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) == "2026-11-25T10:20:30"
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start_of(window, moment))) == start


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    client = Redis.from_url(os.environ["SOUK_TEST_REDIS_URL"])
    yield client
    client.close()


def shared(host: str | None = None, port: int | None = None, **config: Any) -> dict[str, Any]:
    url = urlsplit(os.environ["SOUK_TEST_REDIS_URL"])
    where = {"host": host or url.hostname, "port": port or url.port, "database": int(url.path.strip("/") or 0)}
    if url.password and not host:
        where |= {"username": url.username, "password": url.password}
    return {"policy": "redis", "redis": where, **config}


def test_redis_counts_every_request_under_kongs_key(serve: Serve, fresh: dict[str, Any], redis: Redis) -> None:
    client = limited(serve, fresh, **shared(hour=2, day=9))
    start = time.time()
    replies = [client.get("/") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert limits(replies[2])["x-ratelimit-remaining-day"] == "7"
    for window, seconds in (("hour", 3600), ("day", 86_400)):
        key = f"ratelimit:{fresh['id']}:{UNSCOPED}:127.0.0.1:{start_of(window, start) * 1000}:{window}"
        assert redis.get(key) == b"3"
        assert 0 < int(redis.ttl(key)) <= seconds


def test_a_header_used_for_counting_is_not_readable_in_redis(serve: Serve, fresh: dict[str, Any], redis: Redis) -> None:
    client = limited(serve, fresh, **shared(hour=1, limit_by="header", header_name="Authorization"))
    tokens = {"Authorization": "Bearer one"}, {"Authorization": "Bearer two"}
    assert [client.get("/", token).status for token in (*tokens, *tokens)] == [200, 200, 429, 429]
    keys = [key.decode() for key in redis.scan_iter(f"ratelimit:{fresh['id']}:*")]
    assert len(keys) == len(tokens)
    assert not any("Bearer" in key for key in keys)


def test_several_gateways_share_one_limit_exactly(upstream: Upstream) -> None:
    route = str(uuid.uuid4())
    config = shared(hour=30)
    document = (
        f"services: [{{url: 'http://{upstream.address}', routes: [{{id: {route}, paths: [/], "
        f"plugins: [{{name: rate-limiting, config: {config}}}]}}]}}]"
    )
    edges = [InThread() for _ in range(3)]
    clients = [edge.load(document) for edge in edges]
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda client=client: statuses.extend(client.get("/").status for _ in range(10)))
        for client in clients * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (statuses.count(200), statuses.count(429)) == (30, 30)
    for edge in edges:
        edge.stop()


@pytest.mark.parametrize("failure", FAILURES)
def test_while_redis_fails_requests_pass(serve: Serve, fresh: dict[str, Any], tmp_path: Path, failure: str) -> None:
    with breakable(tmp_path) as server:
        client = limited(serve, fresh, **shared(host="127.0.0.1", port=server.port, hour=5))
        assert client.get("/").status == 200
        server.fail(failure)
        assert client.get("/").status == 200


@pytest.mark.parametrize(("fault_tolerant", "status"), [(True, 200), (False, 500)])
def test_without_redis_fault_tolerant_decides(
    serve: Serve, fresh: dict[str, Any], fault_tolerant: bool, status: int
) -> None:
    config = shared(host="127.0.0.1", port=1, hour=1, fault_tolerant=fault_tolerant)
    replies = [limited(serve, fresh, **config).get("/") for _ in range(2)]
    assert [(reply.status, limits(reply)) for reply in replies] == [(status, {})] * 2
    assert status == 200 or replies[0].message == "An unexpected error occurred"
