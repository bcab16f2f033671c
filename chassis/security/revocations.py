"""Revoked access tokens, by `jti`, in Redis, cached for CACHE_SECONDS.

While Redis is unavailable, tokens pass, and are counted: refusing every customer would do more harm.
"""

import time
from collections.abc import Mapping
from datetime import datetime

from prometheus_client import Counter
from structlog import get_logger

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.base.settings import Settings
from chassis.storage import redis

log = get_logger(__name__)

CACHE_SECONDS = 1.0
BACKOFF_SECONDS = 1.0
"""After an error, without waiting for timeouts."""

MAX_CACHED = 10_000
"""150 bytes each."""

UNCHECKED = Counter("souk_revocations_unchecked_total", "Tokens accepted unchecked while Redis was unavailable.")

_cache: dict[str, tuple[float, bool]] = {}
_retry_at = 0.0


def is_revoked(token_id: str, settings: Settings) -> bool:
    if not settings.redis_url:
        return False
    now = time.monotonic()
    expires, cached = _cache.get(token_id, (0.0, False))
    if now < expires:
        return cached
    found = _look_up(token_id, settings, now)
    if len(_cache) >= MAX_CACHED:
        _cache.clear()
    _cache[token_id] = (now + CACHE_SECONDS, found)
    return found


def _look_up(token_id: str, settings: Settings, now: float) -> bool:
    global _retry_at
    if now >= _retry_at:
        try:
            return bool(redis.client(settings.redis_url).exists(_key(token_id)))
        except redis.RedisError as error:
            _retry_at = now + BACKOFF_SECONDS
            log.warning("revocations not checked", error=repr(error))
    UNCHECKED.inc()
    return False


def publish(revoked: Mapping[str, datetime], settings: Settings) -> None:
    """revoked: expiry by token id. Raises RedisError."""
    now = clock.now()
    with redis.client(settings.redis_url).pipeline(transaction=False) as pipeline:
        for token_id, expires_at in revoked.items():
            # As long as any clock accepts the token, plus transit.
            valid_for = expires_at + LEEWAY - now
            milliseconds = int(valid_for.total_seconds() * 1000) + 1000
            if milliseconds > 0:
                pipeline.set(_key(token_id), "", px=milliseconds)
        pipeline.execute()
    for token_id in revoked:
        _cache.pop(token_id, None)


def _key(token_id: str) -> str:
    return f"souk:revoked:{token_id}"
