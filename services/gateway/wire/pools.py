"""All connections to upstreams, shared by configurations that follow each other."""

import ssl
from collections.abc import Iterable
from functools import cache

from services.gateway.wire.pool import Pool

Address = tuple[str, str, int]
"""Protocol (http, https, or https! for one whose certificate is checked), IP and port."""


@cache
def verified() -> ssl.SSLContext:
    return ssl.create_default_context()


@cache
def unverified() -> ssl.SSLContext:
    """Kong checks no upstream's certificate unless the service says tls_verify."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Pools:
    def __init__(self, idle: int, most: int) -> None:
        self._idle, self._most = idle, most
        self._pools: dict[Address, Pool] = {}

    def of(self, protocol: str, ip: str, port: int) -> Pool:
        key = protocol, ip, port
        if key not in self._pools:
            tls = None if protocol == "http" else verified() if protocol.endswith("!") else unverified()
            self._pools[key] = Pool(ip, port, self._idle, self._most, tls)
        return self._pools[key]

    def retain(self, pools: Iterable[Pool]) -> None:
        """Close what is idle in all others; requests in hand keep theirs."""
        kept = {id(pool) for pool in pools}
        for key, pool in list(self._pools.items()):
            if id(pool) not in kept:
                del self._pools[key]
                pool.close()
