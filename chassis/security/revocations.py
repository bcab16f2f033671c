"""Access tokens that are called back before they end, by `jti`, in Redis, where each is forgotten when it would have ended.

A token seen is asked about at most once in KEPT_SECONDS by each process, so a busy client costs nothing and a revoked
token is refused within that time. While Redis is away, tokens pass: each is signed, and ends within a quarter of an
hour; a shop that refused all customers while a cache restarts would be the greater harm. That is counted and logged, and
who revokes tells Redis again once it is back.
"""

import time
from collections.abc import Mapping
from datetime import datetime

from prometheus_client import Counter
from structlog import get_logger

from chassis.base import clock
from chassis.base.settings import Settings
from chassis.storage import redis

log = get_logger(__name__)

KEPT_SECONDS = 1.0
AWAY_SECONDS = 1.0
"""How long Redis is not asked after it did not answer, so that not every request waits for it."""

MAX_KEPT = 10_000
"""Verdicts in memory, some 150 bytes each."""

UNCHECKED = Counter("souk_revocations_unchecked_total", "Tokens that passed while Redis could not be asked.")

_verdicts: dict[str, tuple[float, bool]] = {}
_away_until = 0.0


def is_revoked(token_id: str, settings: Settings) -> bool:
    """Whether the token was called back, as far as is known now."""
    if not settings.redis_url:
        return False
    now = time.monotonic()
    until, verdict = _verdicts.get(token_id, (0.0, False))
    if now < until:
        return verdict
    found = _ask(token_id, settings, now)
    if len(_verdicts) >= MAX_KEPT:
        _verdicts.clear()
    _verdicts[token_id] = (now + KEPT_SECONDS, found)
    return found


def _ask(token_id: str, settings: Settings, now: float) -> bool:
    global _away_until
    if now >= _away_until:
        try:
            return bool(redis.client(settings.redis_url).exists(_key(token_id)))
        except redis.RedisError as error:
            _away_until = now + AWAY_SECONDS
            log.warning("revocations not checked", error=repr(error))
    UNCHECKED.inc()
    return False


def publish(revoked: Mapping[str, datetime], settings: Settings) -> None:
    """Let every service know of these tokens, given with the time each ends by itself. Raises RedisError."""
    now = clock.now()
    with redis.client(settings.redis_url).pipeline(transaction=False) as pipeline:
        for token_id, ends_at in revoked.items():
            # A second longer than the token: whoever asks last has another clock.
            milliseconds = int((ends_at - now).total_seconds() * 1000) + 1000
            if milliseconds > 0:
                pipeline.set(_key(token_id), "", px=milliseconds)
        pipeline.execute()


def _key(token_id: str) -> str:
    return f"souk:revoked:{token_id}"
