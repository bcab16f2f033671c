"""Healthy instances from Consul's health API by blocking queries: a change is known when it happens."""

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

from structlog import get_logger

from services.gateway.discovery.names import Address
from services.gateway.wire.fetch import FETCH_FAILURES, fetch

log = get_logger(__name__)

DOMAIN = ".service.consul"
WAIT_SECONDS = 60
RETRY_SECONDS = 1.0


async def follow(consul_url: str, name: str) -> AsyncIterator[list[Address]]:
    """`name` is `<service>.service.consul`. While Consul is away, what it said last holds."""
    base = urlsplit(consul_url)
    service = name.removesuffix(DOMAIN)
    index = 0
    while True:
        path = f"/v1/health/service/{quote(service, safe='')}?passing=1&index={index}&wait={WAIT_SECONDS}s"
        try:
            answer = await fetch(
                "GET", base.hostname or "", base.port or 8500, path, timeout_seconds=WAIT_SECONDS * 1.5
            )
            if answer.status != 200:
                raise ConnectionError(f"Consul answered {answer.status}")
            addresses = [_address(entry) for entry in json.loads(answer.body)]
        except (*FETCH_FAILURES, ValueError, KeyError) as error:
            log.warning("Consul does not tell", service=service, error=repr(error))
            index = 0
            await asyncio.sleep(RETRY_SECONDS)
            continue
        yield addresses
        index = _next_index(index, answer.header("x-consul-index"))


def _next_index(before: int, said: str | None) -> int:
    """Consul asks its clients to start anew when the index goes backwards, or is none."""
    index = int(said) if said and said.isdecimal() else 0
    return index if index > before or before == 0 else (index if index == before else 0)


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
