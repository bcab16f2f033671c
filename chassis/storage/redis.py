"""Redis, for what may be lost: caches, and revocations, which expire by themselves."""

from functools import lru_cache

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

__all__ = ["RedisError", "client"]

TIMEOUT_SECONDS = 0.25
"""For connecting and for each response. Every caller can do without Redis."""


@lru_cache
def client(url: str) -> "Redis":
    """The process's connection pool. Calls raise RedisError."""
    return Redis.from_url(
        url,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        # A pooled connection may have died: retry at once.
        retry=Retry(NoBackoff(), 1),
    )
