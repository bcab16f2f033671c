"""Limits on failed logins, by account and address.

Counts are in Redis, under digests. While Redis fails, instances count locally; logins are checked against both.
"""

import hashlib
import math
import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from limits import RateLimitItem, parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import SlidingWindowCounterRateLimiter
from structlog import get_logger

from chassis.base.problems import Problem
from chassis.storage import redis
from services.users.settings import Settings

log = get_logger(__name__)

T = TypeVar("T")

Limiter = SlidingWindowCounterRateLimiter

Counter = tuple[RateLimitItem, str]


class TooManyAttempts(Problem):
    type, status, title = "/problems/too-many-attempts", 429, "Too many failed login attempts"


def check_login(email: str, address: str | None) -> None:
    """Raises TooManyAttempts, even without such an account."""
    counters = _login_counters(email, address)

    def reset_time(limiter: Limiter) -> float:
        exceeded = [counter for counter in counters if not limiter.test(*counter)]
        return max((limiter.get_window_stats(*counter).reset_time for counter in exceeded), default=0.0)

    moment = max(reset_time(_local()), _with_redis(reset_time) or 0.0)
    if moment:
        seconds = max(1, math.ceil(moment - time.time()))
        raise TooManyAttempts(f"Try again in {seconds} seconds.", {"Retry-After": str(seconds)})


def login_failed(email: str, address: str | None) -> None:
    counters = _login_counters(email, address)

    def hit(limiter: Limiter) -> bool:
        for counter in counters:
            limiter.hit(*counter)
        return True

    if not _with_redis(hit):
        hit(_local())


def login_succeeded(email: str, address: str | None) -> None:
    (pair, *_) = _login_counters(email, address)
    _with_redis(lambda limiter: limiter.clear(*pair))
    _local().clear(*pair)


def _with_redis(use: Callable[[Limiter], T]) -> T | None:
    """None if Redis is missing or refuses."""
    url = Settings.current().redis_url
    if url:
        try:
            return use(_shared(url))
        except StorageError as error:
            log.warning("login throttle without redis", error=repr(error.storage_error))
    return None


def _login_counters(email: str, address: str | None) -> list[Counter]:
    settings, origin = Settings.current(), address or "unknown"
    return [
        (parse(settings.max_failures_per_account_and_address), _key("pair", email, origin)),
        (parse(settings.max_failures_per_account), _key("account", email)),
        (parse(settings.max_failures_per_address), _key("address", origin)),
    ]


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@cache
def _shared(url: str) -> Limiter:
    storage: Storage = RedisStorage(
        url,
        wrap_exceptions=True,
        key_prefix="souk:users:throttle",
        connection_pool=redis.client(url).connection_pool,
    )
    return Limiter(storage)


@cache
def _local() -> Limiter:
    return Limiter(MemoryStorage())
