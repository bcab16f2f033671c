"""Customer responses cached in Redis; concurrent readers share one query.

Without Redis, reads go to the database.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from prometheus_client import Counter
from structlog import get_logger

from chassis.base.problems import Unavailable
from chassis.storage import redis
from chassis.storage.mongo import MongoStore
from chassis.storage.redis import RedisError
from services.products.settings import Settings

log = get_logger(__name__)

READS = Counter(
    "souk_cache_reads_total", "Reads through the cache: hit, miss, stale or uncached.", ["cache", "outcome"]
)

FRESH_SECONDS = 2.0
MAX_AGE_SECONDS = 300.0
"""While the database is unavailable."""

EARLY = 0.5
"""Share of freshness after which one reader renews."""

LOCK_MILLISECONDS = 5_000
"""Longer than any of our operations."""

WAIT_SECONDS = 1.0

POLL_SECONDS = 0.01
REST_SECONDS = 1.0
"""Back-off after an error of Redis or the source."""

LISTS = "lists"

_STORE = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('del', KEYS[2])
return 1
"""
"""Nothing is stored if the lock was lost: the value may be outdated."""

_UNLOCK = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


@dataclass(frozen=True)
class Cached:
    body: bytes
    age_seconds: float


class Cache:
    """`unavailable`: errors of an unresponsive source."""

    def __init__(self, url: str, name: str, unavailable: tuple[type[Exception], ...], max_age_seconds: float) -> None:
        self._url = url
        self._name = name
        self._unavailable = unavailable
        self._max_age_seconds = max_age_seconds
        self._redis_rests_until = self._source_rests_until = float("-inf")

    def get(self, key: str, fresh_seconds: float, read: Callable[[], bytes]) -> Cached:
        """Raises what `read` raises, and Unavailable."""
        found = self._find(key)
        if found and found.age_seconds < EARLY * fresh_seconds:
            return self._counted("hit", found)
        if time.monotonic() < self._source_rests_until:
            return self._stale(found)
        token = self._lock(key)
        if token is None:
            is_fresh = found is not None and found.age_seconds < fresh_seconds
            found = found if is_fresh else self._wait(key, fresh_seconds) or found
        else:
            # Another reader may have stored it before we got the lock.
            found = self._find(key) or found
        if found and found.age_seconds < (fresh_seconds if token is None else EARLY * fresh_seconds):
            self._unlock(key, token)
            return self._counted("hit", found)
        return self._read(key, read, token, found)

    def invalidate(self, *keys: str) -> None:
        """Also discards values being read now."""
        names = [name for key in keys for name in (self._key(key), self._key(key, "lock"))]
        self._try(lambda: redis.client(self._url).delete(*names))

    def generation(self, name: str) -> str:
        value = self._try(lambda: redis.client(self._url).get(self._key(name)))
        return value.decode() if isinstance(value, bytes) else ""

    def start_generation(self, name: str) -> None:
        self._try(lambda: redis.client(self._url).set(self._key(name), secrets.token_hex(8)))

    def _read(self, key: str, read: Callable[[], bytes], token: str | None, found: Cached | None) -> Cached:
        try:
            body = read()
        except self._unavailable:
            self._source_rests_until = time.monotonic() + REST_SECONDS
            if found is None:
                raise
            return self._stale(found)
        except BaseException:
            self._unlock(key, token)
            raise
        self._store(key, body, token)
        return self._counted("miss" if token else "uncached", Cached(body, 0.0))

    def _stale(self, found: Cached | None) -> Cached:
        if found is None:
            raise Unavailable("The database is unavailable.")
        return self._counted("stale", found)

    def _find(self, key: str) -> Cached | None:
        def get() -> Cached | None:
            pipeline = redis.client(self._url).pipeline(transaction=False)
            pipeline.get(self._key(key))
            pipeline.pttl(self._key(key))
            body, left = pipeline.execute()
            # Derived from the TTL, so no clocks are compared.
            return (
                Cached(body, max(0.0, self._max_age_seconds - left / 1000)) if body is not None and left > 0 else None
            )

        return cast("Cached | None", self._try(get))

    def _wait(self, key: str, fresh_seconds: float) -> Cached | None:
        deadline = time.monotonic() + WAIT_SECONDS
        while self._has_redis() and time.monotonic() < deadline:
            found = self._find(key)
            if found and found.age_seconds < fresh_seconds:
                return found
            time.sleep(POLL_SECONDS)
        return None

    def _lock(self, key: str) -> str | None:
        token = secrets.token_hex(8)
        name = self._key(key, "lock")
        is_ours = self._try(lambda: redis.client(self._url).set(name, token, nx=True, px=LOCK_MILLISECONDS))
        return token if is_ours else None

    def _unlock(self, key: str, token: str | None) -> None:
        if token is not None:
            self._try(lambda: redis.client(self._url).eval(_UNLOCK, 1, self._key(key, "lock"), token))

    def _store(self, key: str, body: bytes, token: str | None) -> None:
        if token is not None:
            names = self._key(key), self._key(key, "lock")
            milliseconds = str(int(self._max_age_seconds * 1000))
            self._try(lambda: redis.client(self._url).eval(_STORE, 2, *names, token, body, milliseconds))

    def _key(self, *parts: str) -> str:
        return ":".join(("cache", self._name, *parts))

    def _has_redis(self) -> bool:
        return bool(self._url) and time.monotonic() >= self._redis_rests_until

    def _try(self, operation: Callable[[], object]) -> object:
        """None while Redis is unavailable."""
        if not self._has_redis():
            return None
        try:
            return operation()
        except RedisError as error:
            self._redis_rests_until = time.monotonic() + REST_SECONDS
            log.warning("cache unavailable", cache=self._name, error=type(error).__name__)
            return None

    def _counted(self, outcome: str, cached: Cached) -> Cached:
        READS.labels(self._name, outcome).inc()
        return cached


@lru_cache
def catalogue() -> Cache:
    settings = Settings.current()
    return Cache(settings.cache_url or settings.redis_url, "products", MongoStore.unavailable, MAX_AGE_SECONDS)


def product_key(product_id: object) -> str:
    return f"one:{product_id}"


def invalidate_products(*product_ids: object) -> None:
    catalogue().invalidate(*map(product_key, product_ids))


def invalidate_lists() -> None:
    catalogue().start_generation(LISTS)
