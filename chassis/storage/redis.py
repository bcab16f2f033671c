"""Redis, for what may be lost: counters, caches, revocations that also expire by themselves. Truth is never only here."""

from functools import lru_cache

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

__all__ = ["RedisError", "client"]

TIMEOUT_SECONDS = 0.25
"""Longest that connecting or one answer may take: whoever asks can do without, and says what then happens."""


@lru_cache
def client(url: str) -> "Redis":
    """The process's pool of connections to the server at `url`. Its calls raise RedisError soon when it is away."""
    return Redis.from_url(
        url,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        # One more try at once: a pooled connection may have died since it was last used.
        retry=Retry(NoBackoff(), 1),
    )
