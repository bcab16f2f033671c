"""Answers kept in Redis for a moment, so that a thousand readers of one thing ask the database once.

Stale within bounds that its caller states: one for as long as the source answers, another while it is away. Where Redis
is away everything is asked of the source.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from prometheus_client import Counter
from structlog import get_logger

from chassis.base.problems import Unavailable
from chassis.storage import redis
from chassis.storage.redis import RedisError

log = get_logger(__name__)

READS = Counter(
    "souk_cache_reads_total", "Reads through the cache: hit, made, stale or uncached.", ["cache", "outcome"]
)

EARLY = 0.5
"""The share of its freshness after which one reader renews what the others still get."""

LOCK_MILLISECONDS = 5_000
"""How long one reader may take to make an answer before another tries as well: longer than any operation of ours."""

WAIT_SECONDS = 1.0
"""How long others wait for that reader before they make it themselves."""

POLL_SECONDS = 0.01
REST_SECONDS = 1.0
"""How long a Redis or a source that was away is not asked again."""

_STORE = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('del', KEYS[2])
return 1
"""
"""Keep an answer and drop the lock, unless the lock is not its maker's any more: then what it read may be outdated."""

_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


@dataclass(frozen=True)
class Kept:
    body: bytes
    age_seconds: float


class Cache:
    """The answers of one kind. `unavailable` are the errors by which their source says that it is away."""

    def __init__(self, url: str, name: str, unavailable: tuple[type[Exception], ...], kept_seconds: float) -> None:
        """`kept_seconds`: how old an answer may be that is given while the source is away."""
        self._url = url
        self._name = name
        self._unavailable = unavailable
        self._kept_seconds = kept_seconds
        self._redis_rests_until = self._source_rests_until = float("-inf")

    def get(self, key: str, fresh_seconds: float, make: Callable[[], bytes]) -> Kept:
        """The answer, at most `fresh_seconds` old if the source is there. Raises what `make` raises."""
        known = self._read(key)
        if known and known.age_seconds < EARLY * fresh_seconds:
            return self._counted("hit", known)
        if time.monotonic() < self._source_rests_until:
            return self._without_source(known)
        token = self._lock(key)
        if token is None:
            is_fresh = known is not None and known.age_seconds < fresh_seconds
            known = known if is_fresh else self._wait(key, fresh_seconds) or known
        else:
            # Another reader may have made it between our look and our lock.
            known = self._read(key) or known
        if known and known.age_seconds < (fresh_seconds if token is None else EARLY * fresh_seconds):
            self._unlock(key, token)
            return self._counted("hit", known)
        return self._make(key, make, token, known)

    def forget(self, *keys: str) -> None:
        """These were changed. What is being read of them right now will not be kept either."""
        names = [name for key in keys for name in (self._key(key), self._key(key, "lock"))]
        self._ask(lambda: redis.client(self._url).delete(*names))

    def generation(self, key: str) -> str:
        """A text that is another one after `turn`, to be part of the keys of all that must then be forgotten."""
        value = self._ask(lambda: redis.client(self._url).get(self._key(key)))
        return value.decode() if isinstance(value, bytes) else ""

    def turn(self, key: str) -> None:
        self._ask(lambda: redis.client(self._url).set(self._key(key), secrets.token_hex(8)))

    # --- inside

    def _make(self, key: str, make: Callable[[], bytes], token: str | None, known: Kept | None) -> Kept:
        try:
            body = make()
        except self._unavailable:
            self._source_rests_until = time.monotonic() + REST_SECONDS
            if known is None:
                raise
            return self._without_source(known)
        except BaseException:
            self._unlock(key, token)
            raise
        self._store(key, body, token)
        return self._counted("made" if token else "uncached", Kept(body, 0.0))

    def _without_source(self, known: Kept | None) -> Kept:
        if known is None:
            raise Unavailable("The database does not answer.")
        return self._counted("stale", known)

    def _read(self, key: str) -> Kept | None:
        def ask() -> Kept | None:
            pipeline = redis.client(self._url).pipeline(transaction=False)
            pipeline.get(self._key(key))
            pipeline.pttl(self._key(key))
            body, left = pipeline.execute()
            # By what is left of its time, and not by anybody's clock.
            return Kept(body, max(0.0, self._kept_seconds - left / 1000)) if body is not None and left > 0 else None

        return cast("Kept | None", self._ask(ask))

    def _wait(self, key: str, fresh_seconds: float) -> Kept | None:
        """What another reader is making; None when it does not come."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self._is_there() and time.monotonic() < deadline:
            known = self._read(key)
            if known and known.age_seconds < fresh_seconds:
                return known
            time.sleep(POLL_SECONDS)
        return None

    def _lock(self, key: str) -> str | None:
        """The token of the lock when it is ours, else None."""
        token = secrets.token_hex(8)
        name = self._key(key, "lock")
        won = self._ask(lambda: redis.client(self._url).set(name, token, nx=True, px=LOCK_MILLISECONDS))
        return token if won else None

    def _unlock(self, key: str, token: str | None) -> None:
        if token is not None:
            self._ask(lambda: redis.client(self._url).eval(_UNLOCK, 1, self._key(key, "lock"), token))

    def _store(self, key: str, body: bytes, token: str | None) -> None:
        if token is not None:
            names = self._key(key), self._key(key, "lock")
            kept = str(int(self._kept_seconds * 1000))
            self._ask(lambda: redis.client(self._url).eval(_STORE, 2, *names, token, body, kept))

    def _key(self, *parts: str) -> str:
        return ":".join(("cache", self._name, *parts))

    def _is_there(self) -> bool:
        return bool(self._url) and time.monotonic() >= self._redis_rests_until

    def _ask(self, question: Callable[[], object]) -> object:
        """Redis' answer; None while it is away."""
        if not self._is_there():
            return None
        try:
            return question()
        except RedisError as error:
            self._redis_rests_until = time.monotonic() + REST_SECONDS
            log.warning("cache away", cache=self._name, error=type(error).__name__)
            return None

    def _counted(self, outcome: str, kept: Kept) -> Kept:
        READS.labels(self._name, outcome).inc()
        return kept
