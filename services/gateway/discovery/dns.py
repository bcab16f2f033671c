"""Addresses from DNS: SRV records, else address records."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
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


class Unavailable(Exception):
    """No name server has said whether there is such a name."""


async def follow(server: str, name: str, has_srv: bool = True) -> AsyncIterator[list[Address]]:
    """`server`: host:port, or empty for the system's. What was found stays while no server responds. Retries unknown names."""
    is_known = False
    while True:
        try:
            addresses, seconds = await _lookup(server, name, has_srv, is_known)
        except Unavailable as error:
            log.warning("name server unavailable", name=name, error=str(error))
            await asyncio.sleep(MIN_SECONDS)
            continue
        if addresses is None:
            log.warning("name not found", name=name)
        is_known = bool(addresses)
        yield addresses or []
        await asyncio.sleep(min(max(seconds, MIN_SECONDS), MAX_SECONDS))


async def _lookup(server: str, name: str, has_srv: bool, is_known: bool) -> tuple[list[Address] | None, float]:
    """Addresses (None for an unknown name) and TTL in seconds. is_known: whether it had some before. Raises Unavailable."""
    unavailable, is_unknown = None, False
    if "." in name:
        try:
            found = await _records(server, name, has_srv)
        except Unavailable as error:
            # The system's would know neither ports nor weights.
            if is_known:
                raise
            unavailable = error
        else:
            if found is not None:
                return found
            is_unknown = bool(server)
    try:
        async with asyncio.timeout(QUERY_SECONDS):
            infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        return None, MIN_SECONDS
    except OSError as error:
        has_failed = isinstance(error, TimeoutError) or error.errno == socket.EAI_AGAIN
        if unavailable or (has_failed and not is_unknown):
            raise unavailable or Unavailable(repr(error)) from error
        return None, MIN_SECONDS
    v4 = {str(info[4][0]) for info in infos if info[0] == socket.AF_INET}
    return [Address(ip) for ip in v4 or {str(info[4][0]) for info in infos}], HOSTS_SECONDS


async def _records(server: str, name: str, has_srv: bool) -> tuple[list[Address], float] | None:
    """None for a name without any. Raises Unavailable."""
    # Most installations need no DNS.
    import dns.asyncresolver
    import dns.exception
    from dns.resolver import NXDOMAIN, NoAnswer, NoNameservers

    try:
        resolver = dns.asyncresolver.Resolver(configure=not server)
        if server:
            address = urlsplit(f"//{server}")
            resolver.nameservers, resolver.port = [address.hostname or ""], address.port or 53
        resolver.lifetime, resolver.timeout = QUERY_SECONDS, QUERY_SECONDS / 2
        if has_srv:
            # Some do not know this kind.
            with suppress(NXDOMAIN, NoAnswer, NoNameservers):
                return await _services(resolver, name)
        with suppress(NXDOMAIN, NoAnswer):
            records = await resolver.resolve(name, "A")
            seconds = float(records.rrset.ttl if records.rrset else MIN_SECONDS)
            return [Address(record.address) for record in records], seconds
    except (dns.exception.DNSException, OSError) as error:
        raise Unavailable(" ".join(str(error).split())) from error
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
