"""Connections to one address."""

import asyncio
import ssl
from collections import deque

from services.gateway.wire.stream import expire
from services.gateway.wire.upstream import UpstreamConnection

IDLE_SECONDS = 60.0
"""Kong's upstream_keepalive_idle_timeout."""


class Pool:
    """The last used idle connection goes first, so that superfluous ones age.

    Above `max_in_use` requests wait here: in the server's backlog they would hold up health checks.
    """

    def __init__(self, host: str, port: int, max_idle: int, max_in_use: int, tls: ssl.SSLContext | None = None) -> None:
        self.host, self.port = host, port
        self._max_idle, self._max_in_use = max_idle, max_in_use
        self._tls = tls
        self._idle: deque[tuple[UpstreamConnection, float]] = deque()
        self._in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(
        self, connect_timeout_seconds: float, wait_timeout_seconds: float, server_name: str | None = None
    ) -> UpstreamConnection:
        """To be released or dropped. Raises OSError (TimeoutError, ssl.SSLError)."""
        if self._in_use < self._max_in_use:
            self._in_use += 1
        else:
            await self._wait(wait_timeout_seconds)
        try:
            return self._kept() or await self._opened(connect_timeout_seconds, server_name)
        except BaseException:
            self._free_slot()
            raise

    def release(self, connection: UpstreamConnection) -> None:
        if connection.is_usable and len(self._idle) < self._max_idle:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        else:
            connection.close()
        self._free_slot()

    def drop(self, connection: UpstreamConnection) -> None:
        connection.close()
        self._free_slot()

    def close(self) -> None:
        """Idle ones only."""
        while self._idle:
            self._idle.pop()[0].close()

    def _kept(self) -> UpstreamConnection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, idle_since = self._idle.pop()
            if connection.is_usable and now - idle_since < IDLE_SECONDS and not connection.is_stale:
                return connection
            connection.close()
        return None

    async def _opened(self, timeout_seconds: float, server_name: str | None) -> UpstreamConnection:
        name = server_name if self._tls is not None else None
        async with asyncio.timeout(timeout_seconds):
            _, connection = await asyncio.get_running_loop().create_connection(
                UpstreamConnection, self.host, self.port, ssl=self._tls, server_hostname=name
            )
        return connection

    async def _wait(self, timeout_seconds: float) -> None:
        """First come, first served."""
        loop = asyncio.get_running_loop()
        slot: asyncio.Future[None] = loop.create_future()
        self._waiting.append(slot)
        timer = loop.call_later(timeout_seconds, expire, slot)
        try:
            await slot
        except BaseException:
            if slot.done() and not slot.cancelled() and slot.exception() is None:
                self._free_slot()  # waiter cancelled after the handover
            raise
        finally:
            timer.cancel()

    def _free_slot(self) -> None:
        while self._waiting:
            slot = self._waiting.popleft()
            if not slot.done():
                slot.set_result(None)
                return
        self._in_use -= 1
