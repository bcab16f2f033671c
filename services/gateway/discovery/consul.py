"""The instances to call, from Consul's health API by blocking queries: a change is known when it happens."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from ssl import SSLContext
from urllib.parse import quote, urlsplit

from structlog import get_logger

from chassis.discovery.agent import Agent
from chassis.discovery.offered import offered
from chassis.discovery.watch import EMPTY_GRACE_SECONDS
from services.gateway.discovery.names import Address
from services.gateway.wire.fetch import FETCH_FAILURES, fetch

log = get_logger(__name__)

DOMAIN = ".service.consul"
WAIT_SECONDS = 60
RETRY_SECONDS = 1.0


async def follow(agent: Agent, name: str) -> AsyncIterator[list[Address]]:
    """`name` is `<service>.service.consul`. While Consul is away, what it said last holds; so it does for a while when Consul
    suddenly has nobody, as one that was wiped has until everybody has registered again."""
    service = name.removesuffix(DOMAIN)
    tls, index = agent.tls(), 0
    known, empty_since = False, 0.0
    while True:
        try:
            addresses, said = await _ask(agent, tls, service, index)
        except (*FETCH_FAILURES, ValueError, KeyError) as error:
            log.warning("Consul does not tell", service=service, error=repr(error))
            index = 0
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if known and not addresses:
            empty_since = empty_since or time.monotonic()
            if time.monotonic() - empty_since < EMPTY_GRACE_SECONDS:
                index = 0
                await asyncio.sleep(RETRY_SECONDS)
                continue
        known, empty_since = bool(addresses), 0.0
        yield addresses
        index = _next_index(index, said)


async def _ask(agent: Agent, tls: SSLContext | None, service: str, index: int) -> tuple[list[Address], str | None]:
    """The addresses, and the index from which on a change is to be waited for."""
    base = urlsplit(agent.url)
    path = f"/v1/health/service/{quote(service, safe='')}?index={index}&wait={WAIT_SECONDS}s"
    answer = await fetch(
        "GET",
        base.hostname or "",
        base.port or (443 if tls else 8500),
        path,
        timeout_seconds=WAIT_SECONDS * 1.5,
        headers=[*agent.headers.items()],
        tls=tls,
    )
    if answer.status != 200:
        raise ConnectionError(f"Consul answered {answer.status}")
    return [_address(entry) for entry in offered(json.loads(answer.body))], answer.header("x-consul-index")


def _next_index(before: int, said: str | None) -> int:
    """Consul asks its clients to start anew when the index goes backwards, or is none."""
    index = int(said) if said and said.isdecimal() else 0
    return index if index >= before else 0


def _address(entry: dict[str, dict[str, object]]) -> Address:
    service, node = entry["Service"], entry["Node"]
    weights = service.get("Weights")
    weight = weights.get("Passing") if isinstance(weights, dict) else None
    return Address(
        str(service["Address"] or node["Address"]),
        int(str(service["Port"])),
        # Consul's default of 1 means nothing was said: then the target's own weight holds.
        int(weight) if weight is not None and int(weight) != 1 else None,
    )
