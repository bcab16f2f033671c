"""Consul's catalogue as services see it: always current, and the last known while Consul is unavailable."""

import time

import pytest

from chassis import discovery
from chassis.base.settings import Settings
from chassis.discovery import Instance
from chassis.discovery.consul import Agent, Query, catalogue
from chassis.discovery.watch import Watches
from tests.chassis.faulty import Faulty, faulty
from tests.consul import ConsulServer
from tests.installation import until


def ids(consul: ConsulServer, service: str = "users") -> list[str]:
    settings = Settings(consul_url=consul.url)
    return [instance.id for instance in discovery.provider(settings).instances(service)]


def test_healthy_instances_are_returned_with_weight_and_version(consul: ConsulServer) -> None:
    consul.register(
        "users", "users-1", 8001, Meta={"version": "2.0", "scheme": "https"}, Weights={"Passing": 5, "Warning": 1}
    )
    consul.register("users", "users-2", 8002, status="critical")
    consul.register("orders", "orders-1", 8003)
    found = catalogue(Agent(consul.url)).instances("users")
    assert list(found) == [Instance("users-1", "https://127.0.0.1:8001", 5, "2.0")]


def test_without_a_ready_instance_the_live_ones_are_returned(consul: ConsulServer) -> None:
    for id_ in ("users-1", "users-2", "users-3"):
        consul.register("users", id_, 8001, status="warning")
    consul.request("/v1/agent/check/fail/users-3", "PUT")
    assert ids(consul) == ["users-1", "users-2"]
    consul.request("/v1/agent/check/pass/users-2", "PUT")
    consul.until(lambda: ids(consul) == ["users-2"], 10)
    consul.request("/v1/agent/check/warn/users-2", "PUT")
    consul.until(lambda: ids(consul) == ["users-1", "users-2"], 10)


def test_a_change_is_seen_at_once_not_at_the_next_poll(consul: ConsulServer) -> None:
    consul.register("users", "users-1", 8001)
    assert ids(consul) == ["users-1"]
    consul.register("users", "users-2", 8002)
    # Far less than the 30 s for which Consul may hold the query.
    consul.until(lambda: ids(consul) == ["users-1", "users-2"], 10)
    consul.request("/v1/agent/check/fail/users-1", "PUT")
    consul.until(lambda: ids(consul) == ["users-2"], 10)


def test_it_survives_a_restart_of_consul_that_comes_back_empty(consul: ConsulServer) -> None:
    consul.register("users", "users-1", 8001)
    assert ids(consul) == ["users-1"]
    consul.kill(wipe=True)
    assert ids(consul) == ["users-1"]
    consul.start()
    assert ids(consul) == ["users-1"]
    consul.register("users", "users-2", 8002)
    consul.until(lambda: ids(consul) == ["users-2"], 10)


def test_an_unknown_service_is_found_once_it_registers(consul: ConsulServer) -> None:
    assert ids(consul, "unknown") == []
    consul.register("unknown", "unknown-1", 8001)
    consul.until(lambda: ids(consul, "unknown") == ["unknown-1"], 10)


def test_the_first_lookup_does_not_wait_long_for_an_unreachable_consul() -> None:
    started = time.monotonic()
    assert list(catalogue(Agent("http://127.0.0.1:1")).instances("users")) == []
    assert time.monotonic() - started < 10


USERS = [{"Node": {"Address": "127.0.0.1"}, "Service": {"ID": "users-1", "Address": "", "Port": 8001}}]


def fail(agent: Faulty, how: str) -> None:
    """Make the agent fail in one of FAILURES."""
    match how:
        case "down":
            agent.hangs_up = True
        case "slow":
            agent.hangs = True
        case "without a leader":
            agent.status, agent.body = 500, b"No cluster leader"
        case "refusing":
            agent.status, agent.body = 403, b"Permission denied"
        case "too busy":
            agent.status, agent.body = 429, b"Your IP is issuing too many concurrent connections"
        case "not JSON":
            agent.body = b"<html>"
        case "of another shape":
            agent.respond_with([{"Node": None, "Service": {}}])


FAILURES = ("down", "slow", "without a leader", "refusing", "too busy", "not JSON", "of another shape")


@pytest.mark.parametrize("how", FAILURES)
def test_the_known_instances_stay_however_consul_fails(how: str) -> None:
    with faulty() as agent:
        agent.respond_with(USERS)
        agent.response_headers = {"X-Consul-Index": "7"}
        known = Watches(lambda service: Query(Agent(agent.url), service).fetch, wait_seconds=0.05)
        assert [each.id for each in known.instances("users")] == ["users-1"]
        agent.wait_for(2)
        fail(agent, how)
        seen = len(agent.seen)
        # The last of these failed: Consul was queried again after it.
        agent.wait_for(seen + (1 if how == "slow" else 3))
        assert [each.id for each in known.instances("users")] == ["users-1"]
        agent.hangs = agent.hangs_up = False
        agent.released.set()
        agent.status = 200
        agent.respond_with([{**USERS[0], "Service": {**USERS[0]["Service"], "ID": "users-2"}}])
        until(lambda: [each.id for each in known.instances("users")] == ["users-2"])


def test_the_index_is_reset_when_it_decreases_and_after_a_failure() -> None:
    with faulty() as agent:
        agent.body = b"[]"
        query = Query(Agent(agent.url, token="t"), "users")
        for index in ("7", "9", "3", "5"):
            agent.response_headers = {"X-Consul-Index": index}
            query.fetch(2.0)
        indexes = [target.partition("index=")[2].partition("&")[0] for _, target, _, _ in agent.seen]
        assert indexes == ["0", "7", "9", "0"]
        assert agent.seen[0][2]["X-Consul-Token"] == "t"
        agent.status = 500
        with pytest.raises(ConnectionError, match="responded 500"):
            query.fetch(2.0)
        agent.status = 200
        query.fetch(2.0)
        assert "index=0&wait=2000ms" in agent.seen[-1][1]
