"""Addresses from DNS: SRV records, else address records."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from structlog import get_logger

from services.gateway.discovery.names import Address

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver

log = get_logger(__name__)

MIN_SECONDS, MAX_SECONDS = 1.0, 60.0
QUERY_SECONDS = 2.0
HOSTS_SECONDS = 30.0
"""The system's resolver reports no TTL."""


async def follow(server: str, name: str, has_srv: bool = True) -> AsyncIterator[list[Address]]:
    """`server`: host:port, or empty for the system's. Retries unknown names."""
    while True:
        addresses, seconds = await _lookup(server, name, has_srv)
        if addresses is None:
            log.warning("name not found", name=name)
        yield addresses or []
        await asyncio.sleep(min(max(seconds, MIN_SECONDS), MAX_SECONDS))


async def _lookup(server: str, name: str, has_srv: bool) -> tuple[list[Address] | None, float]:
    """Addresses (None for an unknown name) and TTL in seconds."""
    if "." in name:
        found = await _records(server, name, has_srv)
        if found is not None:
            return found
    try:
        async with asyncio.timeout(QUERY_SECONDS):
            infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None, MIN_SECONDS
    v4 = {str(info[4][0]) for info in infos if info[0] == socket.AF_INET}
    return [Address(ip) for ip in v4 or {str(info[4][0]) for info in infos}], HOSTS_SECONDS


async def _records(server: str, name: str, has_srv: bool) -> tuple[list[Address], float] | None:
    # Most installations need no DNS.
    import dns.asyncresolver
    import dns.exception
    import dns.resolver

    resolver = dns.asyncresolver.Resolver(configure=not server)
    if server:
        address = urlsplit(f"//{server}")
        resolver.nameservers, resolver.port = [address.hostname or ""], address.port or 53
    resolver.lifetime = QUERY_SECONDS
    try:
        if has_srv:
            return await _services(resolver, name)
    except (dns.exception.DNSException, OSError):
        pass
    try:
        records = await resolver.resolve(name, "A")
        return [Address(record.address) for record in records], float(
            records.rrset.ttl if records.rrset else MIN_SECONDS
        )
    except (dns.exception.DNSException, OSError):
        return None


async def _services(resolver: "Resolver", name: str) -> tuple[list[Address], float]:
    records = await resolver.resolve(name, "SRV")
    addresses = []
    extra = {str(rr.name): [r.address for r in rr if hasattr(r, "address")] for rr in records.response.additional}
    lowest = min(record.priority for record in records)
    for record in records:
        if record.priority == lowest:
            ips = extra.get(str(record.target)) or [r.address for r in await resolver.resolve(record.target, "A")]
            addresses += [Address(ip, record.port, record.weight or 1) for ip in ips]
    return addresses, float(records.rrset.ttl if records.rrset else MIN_SECONDS)
