"""The instances of an upstream from Consul: updated at once, kept while it is unavailable or has been wiped."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from chassis.discovery.agent import Agent
from chassis.discovery.watch import MIN_POLL_SECONDS
from services.gateway.discovery import watch
from services.gateway.discovery.consul import Query
from services.gateway.discovery.names import Address
from tests.chassis.discovery.test_consul import FAILURES, fail
from tests.chassis.faulty import faulty
from tests.consul import ConsulServer, _shared_consul, consul, consul_binary

__all__ = ["_shared_consul", "consul", "consul_binary"]
DEADLINE_SECONDS = 20.0
NAME = "users.service.consul"


def follow(agent: Agent) -> AsyncIterator[list[Address]]:
    return watch.watch(NAME, Query(agent, NAME).fetch)


async def following(addresses: AsyncIterator[list[Address]]) -> list[int | None]:
    """Ports in the next update."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        return [each.port for each in await anext(addresses)]


def test_a_change_is_reported_at_once(consul: ConsulServer) -> None:
    async def run() -> None:
        addresses = follow(Agent(consul.url))
        consul.register("users", "users-web", 8001)
        assert await following(addresses) == [8001]
        consul.register("users", "users-web-2", 8002)
        assert sorted(port or 0 for port in await following(addresses)) == [8001, 8002]

    asyncio.run(run())


def test_live_instances_are_used_when_none_is_ready(consul: ConsulServer) -> None:
    async def run() -> None:
        for id_, port, status in (("a", 8001, "passing"), ("b", 8002, "warning"), ("c", 8003, "critical")):
            consul.register("users", id_, port, status)
        addresses = follow(Agent(consul.url))
        assert await following(addresses) == [8001]
        consul.request("/v1/agent/check/warn/a", "PUT")
        assert sorted(port or 0 for port in await following(addresses)) == [8001, 8002]

    asyncio.run(run())


def test_a_wiped_consul_does_not_remove_the_instances_at_once(consul: ConsulServer) -> None:
    async def run() -> None:
        query, fetched = Query(Agent(consul.url), NAME), list[list[Address]]()

        async def fetch(wait_seconds: float) -> list[Address]:
            fetched.append(await query.fetch(wait_seconds))
            return fetched[-1]

        addresses = watch.watch(NAME, fetch)
        consul.register("users", "users-web", 8001)
        assert await following(addresses) == [8001]
        consul.kill(wipe=True)
        waiting = asyncio.create_task(following(addresses))
        await asyncio.to_thread(consul.start)
        async with asyncio.timeout(DEADLINE_SECONDS):
            while fetched[-2:] != [[], []]:
                await asyncio.wait([waiting], timeout=MIN_POLL_SECONDS)
        assert not waiting.done()
        consul.register("users", "users-web", 8003)
        assert await waiting == [8003]

    asyncio.run(run())


def test_instances_are_removed_when_consul_stays_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "EMPTY_GRACE_SECONDS", 0.1)
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.05)

    async def run() -> None:
        with faulty() as agent:
            agent.respond_with([{"Node": {"Address": "10.0.0.1"}, "Service": {"Address": "", "Port": 1}}])
            addresses = follow(Agent(agent.url, token="t"))
            assert await following(addresses) == [1]
            agent.body = b"[]"
            assert await following(addresses) == []
            assert {headers["X-Consul-Token"] for _, _, headers, _ in agent.seen} == {"t"}

    asyncio.run(run())


def test_a_consul_that_does_not_hold_queries_is_queried_with_pauses() -> None:
    async def run() -> None:
        with faulty() as agent:
            agent.body = b"[]"
            addresses = follow(Agent(agent.url))
            began = time.monotonic()
            for _ in range(4):
                assert await following(addresses) == []
            assert time.monotonic() - began >= 3 * MIN_POLL_SECONDS

    asyncio.run(run())


@pytest.mark.parametrize("how", FAILURES)
def test_the_known_instances_stay_however_consul_fails(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.05)

    async def run() -> None:
        with faulty() as agent:
            agent.respond_with([{"Node": {"Address": "10.0.0.1"}, "Service": {"Address": "", "Port": 1}}])
            addresses = follow(Agent(agent.url))
            assert await following(addresses) == [1]
            healthy = agent.body
            fail(agent, how)
            waiting = asyncio.create_task(following(addresses))
            await asyncio.to_thread(agent.wait_for, len(agent.seen) + (1 if how == "slow" else 3))
            assert not waiting.done()
            agent.hangs, agent.hangs_up, agent.status = False, False, 200
            agent.released.set()
            agent.body = healthy.replace(b'"Port": 1', b'"Port": 2')
            assert await waiting == [2]

    asyncio.run(run())
