"""Connections to upstreams, kept over reloads."""

import ssl
from collections.abc import Iterable
from functools import cache

from services.gateway.wire.pool import Pool

Address = tuple[str, str, int]
"""Protocol (http, https, https! to verify), IP, port."""


@cache
def verified() -> ssl.SSLContext:
    return ssl.create_default_context()


@cache
def unverified() -> ssl.SSLContext:
    """Kong verifies certificates only with tls_verify."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Pools:
    def __init__(self, max_idle: int, max_in_use: int) -> None:
        self._max_idle, self._max_in_use = max_idle, max_in_use
        self._pools: dict[Address, Pool] = {}

    def of(self, protocol: str, ip: str, port: int) -> Pool:
        key = protocol, ip, port
        if key not in self._pools:
            tls = None if protocol == "http" else verified() if protocol.endswith("!") else unverified()
            self._pools[key] = Pool(ip, port, self._max_idle, self._max_in_use, tls)
        return self._pools[key]

    def retain(self, pools: Iterable[Pool]) -> None:
        """Close idle connections of all others."""
        kept = {id(pool) for pool in pools}
        for key, pool in list(self._pools.items()):
            if id(pool) not in kept:
                del self._pools[key]
                pool.close()
