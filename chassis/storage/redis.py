"""Redis, for data that may be lost."""

from functools import lru_cache

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

__all__ = ["RedisError", "client"]

TIMEOUT_SECONDS = 0.25
"""For connecting and for each response."""


@lru_cache
def client(url: str) -> "Redis":
    """Calls raise RedisError."""
    return Redis.from_url(
        url,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        # A pooled connection may have died: retry at once.
        retry=Retry(NoBackoff(), 1),
    )
