"""Healthy instances from Consul, by blocking queries."""

import asyncio
import time
from collections.abc import AsyncIterator
from ssl import SSLContext
from urllib.parse import quote, urlsplit

from structlog import get_logger

from chassis.base.parsing import parse_json
from chassis.discovery.agent import Agent
from chassis.discovery.usable import usable
from chassis.discovery.watch import EMPTY_GRACE_SECONDS, MIN_POLL_SECONDS
from services.gateway.discovery.names import Address
from services.gateway.wire.fetch import FETCH_FAILURES, fetch

log = get_logger(__name__)

DOMAIN = ".service.consul"
WAIT_SECONDS = 60
RETRY_SECONDS = 1.0


async def follow(agent: Agent, name: str) -> AsyncIterator[list[Address]]:
    """`name`: `<service>.service.consul`.

    Addresses stay valid while Consul is unavailable, and for a while when it has none: a wiped one is empty until
    instances register.
    """
    service = name.removesuffix(DOMAIN)
    tls, index = agent.tls(), 0
    has_addresses, empty_since = False, 0.0
    while True:
        began = time.monotonic()
        try:
            addresses, sent_index = await _query(agent, tls, service, index)
        except (*FETCH_FAILURES, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("Consul query failed", service=service, error=repr(error))
            index = 0
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if has_addresses and not addresses:
            empty_since = empty_since or time.monotonic()
            if time.monotonic() - empty_since < EMPTY_GRACE_SECONDS:
                index = 0
                await asyncio.sleep(RETRY_SECONDS)
                continue
        has_addresses, empty_since = bool(addresses), 0.0
        yield addresses
        before, index = index, _next_index(index, sent_index)
        if index == before:
            await asyncio.sleep(began + MIN_POLL_SECONDS - time.monotonic())


async def _query(agent: Agent, tls: SSLContext | None, service: str, index: int) -> tuple[list[Address], str | None]:
    """Addresses, and the next query's index."""
    base = urlsplit(agent.url)
    path = f"/v1/health/service/{quote(service, safe='')}?index={index}&wait={WAIT_SECONDS}s"
    response = await fetch(
        "GET",
        base.hostname or "",
        base.port or (443 if tls else 8500),
        path,
        timeout_seconds=WAIT_SECONDS * 1.5,
        headers=[*agent.headers.items()],
        tls=tls,
    )
    if response.status != 200:
        raise ConnectionError(f"Consul responded {response.status}")
    return [_address(entry) for entry in usable(parse_json(response.body))], response.header("x-consul-index")


def _next_index(before: int, sent: str | None) -> int:
    """As Consul requires, start over when it goes backwards."""
    index = int(sent) if sent and sent.isdecimal() else 0
    return index if index >= before else 0


def _address(entry: dict[str, dict[str, object]]) -> Address:
    service, node = entry["Service"], entry["Node"]
    weights = service.get("Weights")
    weight = weights.get("Passing") if isinstance(weights, dict) else None
    return Address(
        str(service["Address"] or node["Address"]),
        int(str(service["Port"])),
        # Consul's default: use the target's own weight.
        int(weight) if weight is not None and int(weight) != 1 else None,
    )
