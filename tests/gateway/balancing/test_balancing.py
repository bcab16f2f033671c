"""Section 7 of Kong's behaviour: balancing and health checks."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from services.gateway.admin.app import create_admin
from services.gateway.balancing.algorithms import ConsistentHashing, LeastConnections, RoundRobin
from services.gateway.balancing.health import Health
from services.gateway.balancing.nodes import Node
from services.gateway.config.errors import InvalidConfiguration
from services.gateway.wire.pool import Pool
from tests.gateway.conftest import InThread, Serve
from tests.gateway.upstream import Client, Response, Upstream, running
from tests.gateway.waiting import until

IN_USE = itertools.count()


def node(name: str, weight: int = 100) -> Node:
    return Node(name, name, Pool(name, 80, max_idle=0, max_in_use=1), weight, Health("u", name))


def test_ninety_to_ten_is_ninety_to_ten() -> None:
    nodes = [node("a", 90), node("b", 10)]
    balancer = RoundRobin(nodes, itertools.count())
    assert Counter(balancer.choose((), None).target for _ in range(10_000)) == {"a": 9_000, "b": 1_000}


def test_the_next_try_goes_to_another_target() -> None:
    nodes = [node("a", 300), node("b", 100)]
    balancer = RoundRobin(nodes, itertools.count())
    assert balancer.choose((nodes[0],), None) is nodes[1]
    assert balancer.choose(nodes, None) in nodes


def test_least_connections_weighs_requests_in_progress() -> None:
    nodes = [node("a", 100), node("b", 200), node("c", 100)]
    balancer = LeastConnections(nodes, itertools.count())
    nodes[0].active, nodes[1].active, nodes[2].active = 1, 4, 2
    assert balancer.choose((), None) is nodes[0]
    assert balancer.choose((nodes[0],), None) is nodes[1]
    for each in nodes:
        each.active = 0
    assert balancer.choose((), None) is nodes[1]


def test_removing_a_target_moves_only_its_own_keys() -> None:
    nodes = [node(name) for name in "abcd"]
    keys = [f"key {number}" for number in range(2_000)]
    before = ConsistentHashing(nodes, itertools.count())
    after = ConsistentHashing(nodes[:3], itertools.count())
    owners = {key: before.choose((), key) for key in keys}
    assert all(count > 300 for count in Counter(each.target for each in owners.values()).values())
    assert all(after.choose((), key) is owner for key, owner in owners.items() if owner is not nodes[3])
    assert before.choose((owners["key 1"],), "key 1") is owners["key 1"]


@pytest.fixture
def pair(upstream: Upstream) -> Iterator[tuple[Upstream, Upstream]]:
    with running(Upstream()) as other:
        yield upstream, other


def balanced(serve: Serve, targets: list[str], **upstream: Any) -> Client:
    name = f"balanced-{next(IN_USE)}"
    entity = {"name": name, "targets": [{"target": target} for target in targets], **upstream}
    service = {"host": name, "retries": 1, "routes": [{"paths": ["~/(?<first>[^/]*)"], "strip_path": False}]}
    return serve({"services": [service], "upstreams": [entity]})


@pytest.mark.parametrize(
    ("config", "arguments"),
    [
        ({"hash_on": "header", "hash_on_header": "X-Key"}, lambda key: ("/", {"X-Key": key})),
        ({"hash_on": "query_arg", "hash_on_query_arg": "k"}, lambda key: (f"/?k={key}", {})),
        ({"hash_on": "path"}, lambda key: (f"/{key}?x=1", {})),
        ({"hash_on": "uri_capture", "hash_on_uri_capture": "first"}, lambda key: (f"/{key}/more", {})),
        ({"hash_on": "cookie", "hash_on_cookie": "c"}, lambda key: ("/", {"Cookie": f"c={key}"})),
        (
            {"hash_on": "consumer", "hash_fallback": "header", "hash_fallback_header": "X-Key"},
            lambda key: ("/", {"X-Key": key}),
        ),
    ],
)
def test_equal_requests_reach_the_same_target(
    serve: Serve, pair: tuple[Upstream, Upstream], config: dict[str, str], arguments: Any
) -> None:
    client = balanced(serve, [each.address for each in pair], algorithm="consistent-hashing", **config)
    places = {}
    for key in [f"key-{number}" for number in range(12)] * 2:
        before = len(pair[0].seen)
        client.get(*arguments(key))
        place = len(pair[0].seen) > before
        assert places.setdefault(key, place) == place
    assert set(places.values()) == {True, False}


@pytest.mark.parametrize(
    ("config", "places"), [({"hash_on": "ip"}, 1), ({"hash_on": "header", "hash_on_header": "X"}, 1), ({}, 2)]
)
def test_requests_without_a_hash_value_share_a_target_or_alternate(
    serve: Serve, pair: tuple[Upstream, Upstream], config: dict[str, str], places: int
) -> None:
    client = balanced(serve, [each.address for each in pair], algorithm="consistent-hashing", **config)
    for _ in range(6):
        client.get("/")
    assert sum(bool(each.seen) for each in pair) == places


def test_a_client_without_the_cookie_gets_one(serve: Serve, pair: tuple[Upstream, Upstream]) -> None:
    config = {"algorithm": "consistent-hashing", "hash_on": "cookie", "hash_on_cookie": "c"}
    reply = balanced(serve, [each.address for each in pair], **config).get("/")
    cookie = reply.header("Set-Cookie") or ""
    assert cookie.startswith("c=")
    assert cookie.endswith("; Path=/; Same-Site=Lax; HttpOnly")


def test_the_least_busy_target_is_chosen(serve: Serve, pair: tuple[Upstream, Upstream]) -> None:
    slow, other = pair
    slow.responses = [Response(chunks=[b"a", b"b"])]
    slow.between_chunks.clear()
    client = balanced(serve, [each.address for each in pair], algorithm="least-connections")
    waiting = threading.Thread(target=client.get, args=("/",))
    while not slow.seen:
        if waiting.ident is None:
            waiting.start()
            until(lambda: bool(slow.seen or other.seen), lambda: "no upstream was called")
        else:
            client.get("/")
    before = len(slow.seen)
    for _ in range(4):
        client.get("/")
    assert len(slow.seen) == before
    slow.between_chunks.set()
    waiting.join(10)


PASSIVE = {"passive": {"unhealthy": {"http_failures": 2, "tcp_failures": 2, "timeouts": 1}}}


def admin_of(edge: InThread) -> Any:
    return create_admin(edge.runtime, {}).test_client()


def state(edge: InThread) -> list[str]:
    """In the file's order."""
    (upstream,) = edge.gateway.edge.configuration.upstreams.values()
    listed = admin_of(edge).get(f"/upstreams/{upstream.name}/health").json["data"]
    found = {target["id"]: target["health"] for target in listed}
    return [found[id_] for id_ in edge.gateway.edge.configuration.targets]


def test_consecutive_failures_remove_a_target_until_it_is_restored(
    serve: Serve, edge: InThread, pair: tuple[Upstream, Upstream]
) -> None:
    failing, other = pair
    client = balanced(serve, [failing.address, other.address], healthchecks=PASSIVE)
    assert state(edge) == ["HEALTHY", "HEALTHY"]
    failing.responses = [Response(500), Response(200), Response(500), Response(503), Response(200)]
    statuses = [client.get("/").status for _ in range(8)]
    assert [status for status in statuses if status != 200] == [500, 500, 503]
    assert state(edge) == ["UNHEALTHY", "HEALTHY"]
    before = len(failing.seen)
    assert [client.get("/").status for _ in range(4)] == [200] * 4
    assert len(failing.seen) == before
    (upstream,) = edge.gateway.edge.configuration.upstreams.values()
    admin = admin_of(edge)
    assert admin.put(f"/upstreams/{upstream.name}/targets/{failing.address}/healthy").status_code == 204
    assert state(edge) == ["HEALTHY", "HEALTHY"]
    client.get("/"), client.get("/")
    assert len(failing.seen) == before + 1
    assert admin.put(f"/upstreams/{upstream.name}/targets/missing/healthy").status_code == 404


def test_refused_connections_remove_a_target(serve: Serve, edge: InThread, upstream: Upstream) -> None:
    client = balanced(serve, ["127.0.0.1:1", "{upstream}"], healthchecks=PASSIVE)
    assert [client.get("/").status for _ in range(6)] == [200] * 6
    assert state(edge) == ["UNHEALTHY", "HEALTHY"]


def test_without_healthy_targets_no_request_is_sent(serve: Serve, edge: InThread, upstream: Upstream) -> None:
    upstream.responses = [Response(500)]
    client = balanced(serve, ["{upstream}"], healthchecks=PASSIVE)
    assert [client.get("/").status for _ in range(3)] == [500, 500, 503]
    (name,) = [each.name for each in edge.gateway.edge.configuration.upstreams.values()]
    whole = admin_of(edge).get(f"/upstreams/{name}/health?balancer_health=1").json["data"]
    assert (whole["balancer_health"], whole["health"]) == ("UNHEALTHY", "UNHEALTHY")


@pytest.mark.parametrize(("threshold", "status"), [(50, 200), (51, 503)])
def test_less_remaining_weight_than_the_threshold_makes_the_upstream_unavailable(
    serve: Serve, pair: tuple[Upstream, Upstream], threshold: int, status: int
) -> None:
    pair[0].responses = [Response(500)]
    client = balanced(serve, [each.address for each in pair], healthchecks=PASSIVE | {"threshold": threshold})
    statuses = [client.get("/").status for _ in range(6)]
    assert statuses[-2:] == [status, status]


ACTIVE = {
    "active": {
        "http_path": "/ping",
        "headers": {"X-Probe": ["yes"]},
        "healthy": {"interval": 0.05, "successes": 2},
        "unhealthy": {"interval": 0.05, "http_failures": 2, "tcp_failures": 2, "timeouts": 2},
    }
}


def test_probes_remove_and_restore_a_target(serve: Serve, edge: InThread, pair: tuple[Upstream, Upstream]) -> None:
    probed, other = pair
    client = balanced(serve, [probed.address, other.address], healthchecks=ACTIVE)
    probed.responses = [Response(500)]
    until(lambda: state(edge) == ["UNHEALTHY", "HEALTHY"], lambda: str(state(edge)))
    ping = probed.last
    assert (ping.method, ping.target, ping.header("Host")) == ("GET", "/ping", "127.0.0.1")
    assert ping.header("X-Probe") == "yes"
    assert [client.get("/").status for _ in range(4)] == [200] * 4
    probed.responses = [Response(200)]
    until(lambda: state(edge) == ["HEALTHY", "HEALTHY"], lambda: str(state(edge)))


def test_only_the_configured_number_of_failed_probes_removes_a_target(
    serve: Serve, edge: InThread, upstream: Upstream
) -> None:
    unhealthy = ACTIVE["active"]["unhealthy"] | {"http_failures": 3}
    balanced(serve, ["{upstream}"], healthchecks={"active": ACTIVE["active"] | {"unhealthy": unhealthy}})
    healths, probes = set[str](), 15
    upstream.responses = [*[Response(500), Response(500), Response(200)] * 5, Response(200)]

    def probed() -> bool:
        healths.update(state(edge))
        return len(upstream.seen) >= probes

    until(probed, lambda: str(len(upstream.seen)))
    assert healths == {"HEALTHY"}
    upstream.responses = [Response(500)]
    until(lambda: state(edge) == ["UNHEALTHY"], lambda: str(state(edge)))


def test_only_successful_probes_in_a_row_restore_a_target(serve: Serve, edge: InThread, upstream: Upstream) -> None:
    upstream.responses = [Response(500)]
    healthy = ACTIVE["active"]["healthy"] | {"successes": 3}
    balanced(serve, ["{upstream}"], healthchecks={"active": ACTIVE["active"] | {"healthy": healthy}})
    until(lambda: state(edge) == ["UNHEALTHY"], lambda: str(state(edge)))
    healths, probes = set[str](), len(upstream.seen) + 15
    upstream.responses = [*[Response(200), Response(200), Response(500)] * 5, Response(500)]

    def probed() -> bool:
        healths.update(state(edge))
        return len(upstream.seen) >= probes

    until(probed, lambda: str(len(upstream.seen)))
    assert healths == {"UNHEALTHY"}
    upstream.responses = [Response(200)]
    until(lambda: state(edge) == ["HEALTHY"], lambda: str(state(edge)))


@pytest.mark.parametrize("kind", ["http", "tcp", "https"])
def test_probes_detect_a_missing_target(serve: Serve, edge: InThread, kind: str) -> None:
    checks = {"active": ACTIVE["active"] | {"type": kind}}
    balanced(serve, ["127.0.0.1:1"], healthchecks=checks)
    until(lambda: state(edge) == ["UNHEALTHY"], lambda: str(state(edge)))


def test_a_probe_that_only_connects(serve: Serve, edge: InThread, upstream: Upstream) -> None:
    upstream.responses = [Response(500)]
    balanced(serve, ["{upstream}"], healthchecks={"active": ACTIVE["active"] | {"type": "tcp"}})
    before = upstream.connections
    until(lambda: upstream.connections > before + 4, lambda: str(upstream.connections))
    assert state(edge) == ["HEALTHY"]


def test_probes_stop_with_their_configuration(serve: Serve, upstream: Upstream) -> None:
    balanced(serve, ["{upstream}"], healthchecks=ACTIVE)
    until(lambda: bool(upstream.seen), lambda: "no probe came")
    serve("services: []")
    before, quiet = len(upstream.seen), threading.Event()
    quiet.wait(0.3)
    assert len(upstream.seen) <= before + 1


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"algorithm": "latency"}, "upstreams[0].algorithm: expected one of: round-robin, "),
        ({"hash_on": "header"}, "hash_on: header needs hash_on_header"),
        ({"hash_fallback": "query_arg"}, "hash_fallback: query_arg needs hash_fallback_query_arg"),
        ({"hash_on": "cookie"}, "hash_on: cookie needs hash_on_cookie"),
        ({"healthchecks": {"active": {"interval": 1}}}, "upstreams[0].healthchecks.active.interval: unknown field"),
        ({"targets": [{"target": "a b"}]}, "upstreams[0].targets[0].target: "),
    ],
)
def test_an_invalid_configuration_is_rejected(serve: Serve, fields: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        serve({"upstreams": [{"name": "u"} | fields]})
    assert error in str(refused.value)
