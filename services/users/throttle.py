"""How often one may try: failed logins by account and by address.

The counts are in Redis, so that all instances count together, under digests, so that nothing there tells who tries.
While Redis is away each instance counts for itself: guessing stays slow, and nobody is refused for our trouble.
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

Count = tuple[RateLimitItem, str]
"""A limit and whose it is."""


class TooManyAttempts(Problem):
    type, status, title = "/problems/too-many-attempts", 429, "Too many attempts"


def check_login(email: str, address: str | None) -> None:
    """Raises TooManyAttempts, with Retry-After, when enough has failed lately. It does not tell whether there is an account."""
    counts = _login_counts(email, address)

    def opens_at(limiter: Limiter) -> float:
        exceeded = [count for count in counts if not limiter.test(*count)]
        return max((limiter.get_window_stats(*count).reset_time for count in exceeded), default=0.0)

    moment = _counting(opens_at)
    if moment:
        seconds = max(1, math.ceil(moment - time.time()))
        raise TooManyAttempts(f"Try again in {seconds} s.", {"Retry-After": str(seconds)})


def login_failed(email: str, address: str | None) -> None:
    for count in _login_counts(email, address):
        _hit(count)


def login_succeeded(email: str, address: str | None) -> None:
    """Who knows the password mistyped it before: that is forgotten, for this address."""
    (pair, *_) = _login_counts(email, address)
    _counting(lambda limiter: limiter.clear(*pair))


def _hit(count: Count) -> None:
    _counting(lambda limiter: limiter.hit(*count))


def _counting(use: Callable[[Limiter], T]) -> T:
    """`use` of the counts that all instances share, or, while Redis is away, of this process's own."""
    url = Settings.current().redis_url
    if url:
        try:
            return use(_shared(url))
        except StorageError as error:
            log.warning("throttle counts by itself", error=repr(error.storage_error))
    return use(_own())


def _login_counts(email: str, address: str | None) -> list[Count]:
    settings, origin = Settings.current(), address or "unknown"
    return [
        (parse(settings.failures_of_pair), _key("pair", email, origin)),
        (parse(settings.failures_of_account), _key("account", email)),
        (parse(settings.failures_of_address), _key("address", origin)),
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
def _own() -> Limiter:
    return Limiter(MemoryStorage())
