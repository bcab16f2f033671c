"""Connections to one address: kept open between requests, and never more in use than the address can well serve."""

import asyncio
import ssl
from collections import deque

from services.gateway.wire.stream import expire
from services.gateway.wire.upstream import UpstreamConnection

IDLE_SECONDS = 60.0
"""Kong's upstream_keepalive_idle_timeout."""


class Pool:
    """Idle connections to `host`:`port`, the last used first, so that superfluous ones grow old and are closed.

    A request that would need one connection too many waits for its turn: a server that counts connections would leave it in its
    backlog, with a health check behind it.
    """

    def __init__(self, host: str, port: int, idle: int, most: int, tls: ssl.SSLContext | None = None) -> None:
        self.host, self.port = host, port
        self._most_idle, self._most = idle, most
        self._tls = tls
        self._idle: deque[tuple[UpstreamConnection, float]] = deque()
        self._in_use = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(
        self, connect_timeout_seconds: float, turn_timeout_seconds: float, server_name: str | None = None
    ) -> UpstreamConnection:
        """An open connection, to be given back. Raises OSError (TimeoutError, ssl.SSLError) when there is none to be had."""
        if self._in_use < self._most:
            self._in_use += 1
        else:
            await self._turn(turn_timeout_seconds)
        try:
            return self._kept() or await self._opened(connect_timeout_seconds, server_name)
        except BaseException:
            self._leave()
            raise

    def release(self, connection: UpstreamConnection) -> None:
        """Give it back. Kept if its answer was read to its end, else closed."""
        if connection.is_usable and len(self._idle) < self._most_idle:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        else:
            connection.close()
        self._leave()

    def drop(self, connection: UpstreamConnection) -> None:
        """Give it back after it has failed."""
        connection.close()
        self._leave()

    def close(self) -> None:
        """What is idle."""
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

    async def _turn(self, timeout_seconds: float) -> None:
        """Until one who leaves hands over: first come, first served, and nobody who has just come gets in between."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_later(timeout_seconds, expire, turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # it was this one's turn, and it goes away
            raise
        finally:
            timer.cancel()

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._in_use -= 1
