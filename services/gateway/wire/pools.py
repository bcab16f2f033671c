"""Connections to upstreams, kept over reloads."""

import ssl
from collections.abc import Iterable
from functools import cache

from services.gateway.wire.pool import Pool

Address = tuple[str, str, int]
"""Protocol (http, https, https! to verify), IP, port."""


@cache
def verified(ca_file: str = "") -> ssl.SSLContext:
    """ca_file: empty for the system's CAs."""
    return ssl.create_default_context(cafile=ca_file or None)


@cache
def unverified() -> ssl.SSLContext:
    """Kong verifies certificates only with tls_verify."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Pools:
    def __init__(self, max_idle: int, max_in_use: int, ca_file: str = "") -> None:
        """ca_file: that upstreams' certificates are verified with; empty for the system's CAs."""
        self._max_idle, self._max_in_use, self._ca_file = max_idle, max_in_use, ca_file
        self._pools: dict[Address, Pool] = {}

    def of(self, protocol: str, ip: str, port: int) -> Pool:
        key = protocol, ip, port
        if key not in self._pools:
            tls = None if protocol == "http" else self.tls(is_verified=protocol.endswith("!"))
            self._pools[key] = Pool(ip, port, self._max_idle, self._max_in_use, tls)
        return self._pools[key]

    def tls(self, is_verified: bool) -> ssl.SSLContext:
        return verified(self._ca_file) if is_verified else unverified()

    def retain(self, pools: Iterable[Pool]) -> None:
        """Close idle connections of all others."""
        kept = {id(pool) for pool in pools}
        for key, pool in list(self._pools.items()):
            if id(pool) not in kept:
                del self._pools[key]
                pool.close()
