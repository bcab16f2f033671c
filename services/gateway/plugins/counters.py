"""Rate limit counters, local or in Redis."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from services.gateway.plugins.windows import SECONDS

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

Counter = tuple[str, str, int]
"""Key (`route:service:identifier`), window, start in seconds since the epoch."""

PRUNED_ABOVE = 100_000
"""Above this number, drop those of past windows."""


class LocalCounters:
    """Kept over reloads. Exact: checks all windows before counting in any."""

    def __init__(self) -> None:
        self._counts: dict[Counter, int] = {}

    def used(self, counters: Sequence[Counter], limits: Sequence[int], now: float) -> list[int]:
        """Counts before this request, counted unless over a limit."""
        used = [self._counts.get(counter, 0) for counter in counters]
        if all(count < limit for count, limit in zip(used, limits, strict=True)):
            for counter, count in zip(counters, used, strict=True):
                self._counts[counter] = count + 1
            if len(self._counts) > PRUNED_ABOVE:
                self._prune(now)
        return used

    def _prune(self, now: float) -> None:
        self._counts = {
            counter: count for counter, count in self._counts.items() if counter[2] + SECONDS[counter[1]] * 1.1 > now
        }


LOCAL = LocalCounters()

MAX_CONCURRENT = 256
"""Per round trip: a script blocks the server's other clients."""

_COUNT = """
local counts = {}
for i, key in ipairs(KEYS) do
  counts[i] = redis.call('INCR', key)
  if counts[i] == 1 then
    redis.call('EXPIRE', key, ARGV[i])
  end
end
return counts
"""


class RedisCounters:
    """Batches: a call costs more than the rest of a request."""

    def __init__(self, client: "Redis") -> None:
        self._script: AsyncScript = client.register_script(_COUNT)
        self._waiting: list[tuple[Sequence[Counter], asyncio.Future[list[int]]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def used(self, counters: Sequence[Counter]) -> list[int]:
        """Counts before this request, counted regardless. Raises RedisError, OSError."""
        loop = asyncio.get_running_loop()
        counted: asyncio.Future[list[int]] = loop.create_future()
        self._waiting.append((counters, counted))
        if self._sender is None or self._sender.done():
            self._sender = loop.create_task(self._send())
        return await counted

    async def _send(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_CONCURRENT], self._waiting[MAX_CONCURRENT:]
            try:
                counts = await self._count([counter for counters, _ in batch for counter in counters])
            except Exception as error:
                for _, counted in batch:
                    if not counted.done():
                        counted.set_exception(error)
                continue
            for counters, counted in batch:
                mine, counts = counts[: len(counters)], counts[len(counters) :]
                if not counted.done():
                    counted.set_result(mine)

    async def _count(self, counters: Sequence[Counter]) -> list[int]:
        keys = [f"ratelimit:{owner}:{start * 1000}:{window}" for owner, window, start in counters]
        counts = await self._script(keys=keys, args=[SECONDS[window] for _, window, _ in counters])
        return [int(count) - 1 for count in counts]


_CLIENTS: dict[tuple[object, ...], RedisCounters] = {}


def redis_counters(
    host: str, port: int, database: int, username: str | None, password: str | None, tls: bool, timeout_seconds: float
) -> RedisCounters:
    """One per server. Call in the loop."""
    from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
    from redis.asyncio.connection import Connection

    key = (id(asyncio.get_running_loop()), host, port, database, username, password, tls, timeout_seconds)
    if key not in _CLIENTS:
        pool = BlockingConnectionPool(
            connection_class=SSLConnection if tls else Connection,
            host=host,
            port=port,
            db=database,
            username=username,
            password=password,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            max_connections=64,
            timeout=timeout_seconds,
        )
        _CLIENTS[key] = RedisCounters(Redis(connection_pool=pool))
    return _CLIENTS[key]
