"""Redis, for what may be lost: caches, and revocations, which expire by themselves."""

from functools import lru_cache

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

__all__ = ["RedisError", "client"]

TIMEOUT_SECONDS = 0.25
"""For connecting and for each response. Every caller can do without Redis, and decides what happens then."""


@lru_cache
def client(url: str) -> "Redis":
    """The process's connection pool for the server at `url`. Its calls raise RedisError, soon."""
    return Redis.from_url(
        url,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        # One immediate retry: a pooled connection may have died since it was last used.
        retry=Retry(NoBackoff(), 1),
    )
