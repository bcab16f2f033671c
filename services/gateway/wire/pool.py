"""Connections to one address, kept open between requests."""

import asyncio
import ssl
from collections import deque

from services.gateway.wire.upstream import UpstreamConnection

IDLE_SECONDS = 60.0
"""Kong's upstream_keepalive_idle_timeout."""


class Pool:
    """Idle connections to `host`:`port`, the last used first, so that superfluous ones grow old and are closed."""

    def __init__(self, host: str, port: int, idle_connections: int, tls: ssl.SSLContext | None = None) -> None:
        self.host, self.port = host, port
        self._limit = idle_connections
        self._tls = tls
        self._idle: deque[tuple[UpstreamConnection, float]] = deque()

    async def acquire(self, connect_timeout_seconds: float, server_name: str | None = None) -> UpstreamConnection:
        """An open connection. Raises OSError (TimeoutError, ssl.SSLError) when there is none to be had."""
        loop = asyncio.get_running_loop()
        while self._idle:
            connection, idle_since = self._idle.pop()
            if connection.is_usable and loop.time() - idle_since < IDLE_SECONDS and not connection.is_stale:
                return connection
            connection.close()
        name = server_name if self._tls is not None else None
        async with asyncio.timeout(connect_timeout_seconds):
            _, connection = await loop.create_connection(
                UpstreamConnection, self.host, self.port, ssl=self._tls, server_hostname=name
            )
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Give back a connection whose answer was read to its end."""
        if connection.is_usable and len(self._idle) < self._limit:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        else:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop()[0].close()
