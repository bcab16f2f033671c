"""Addresses from DNS: SRV records, which know ports and weights, else addresses; asked again when they have grown old."""

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from structlog import get_logger

from services.gateway.discovery.names import Address

log = get_logger(__name__)

MIN_SECONDS, MAX_SECONDS = 1.0, 60.0
ASK_SECONDS = 2.0
HOSTS_SECONDS = 30.0
"""For names of the machine's own hosts file, which have no age."""


async def follow(server: str, name: str) -> AsyncIterator[list[Address]]:
    """`server` is host:port of a name server; empty for the system's. A name that is not found now may be, later."""
    while True:
        addresses, seconds = await _ask(server, name)
        if addresses is None:
            log.warning("name not found", name=name)
        yield addresses or []
        await asyncio.sleep(min(max(seconds, MIN_SECONDS), MAX_SECONDS))


async def _ask(server: str, name: str) -> tuple[list[Address] | None, float]:
    """The addresses, None without any; and for how long they hold."""
    if "." in name:
        found = await _records(server, name)
        if found is not None:
            return found
    try:
        async with asyncio.timeout(ASK_SECONDS):
            infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None, MIN_SECONDS
    v4 = {str(info[4][0]) for info in infos if info[0] == socket.AF_INET}
    return [Address(ip) for ip in v4 or {str(info[4][0]) for info in infos}], HOSTS_SECONDS


async def _records(server: str, name: str) -> tuple[list[Address], float] | None:
    # Imported where a name is looked up: most installations name addresses.
    import dns.asyncresolver
    import dns.exception
    import dns.resolver

    resolver = dns.asyncresolver.Resolver(configure=not server)
    if server:
        where = urlsplit(f"//{server}")
        resolver.nameservers, resolver.port = [where.hostname or ""], where.port or 53
    resolver.lifetime = ASK_SECONDS
    try:
        answer = await resolver.resolve(name, "SRV")
        addresses = []
        extra = {str(rr.name): [r.address for r in rr if hasattr(r, "address")] for rr in answer.response.additional}
        lowest = min(record.priority for record in answer)
        for record in answer:
            if record.priority == lowest:
                ips = extra.get(str(record.target)) or [r.address for r in await resolver.resolve(record.target, "A")]
                addresses += [Address(ip, record.port, record.weight or 1) for ip in ips]
        return addresses, float(answer.rrset.ttl if answer.rrset else MIN_SECONDS)
    except (dns.exception.DNSException, OSError):
        pass
    try:
        answer = await resolver.resolve(name, "A")
        return [Address(record.address) for record in answer], float(answer.rrset.ttl if answer.rrset else MIN_SECONDS)
    except (dns.exception.DNSException, OSError):
        return None
