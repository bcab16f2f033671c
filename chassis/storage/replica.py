"""Reads that may be a little old, from streaming replicas of PostgreSQL. In every doubt the primary is read.

What a replica has is told by its position in the primary's log, not by clocks: it needs the primary's own position of
`max_lag_seconds` ago, and that after the caller's last write, which Redis keeps.
"""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger

from chassis.base import deadline
from chassis.storage import postgres, redis
from chassis.storage.postgres import CHECK_SECONDS, Database

log = get_logger(__name__)

T = TypeVar("T")

SAMPLE_SECONDS = 0.5
RETRY_SECONDS = 2.0
"""After an error."""

EVERYTHING = 2**63 - 1
"""A position that no replica has."""

READS = Counter(
    "souk_stale_reads_total",
    "Reads that may be old, by source: replica, primary as the replicas are late, or as they are unavailable; both if one failed.",
    ["source"],
)
for _source in ("replica", "primary_late", "primary_unavailable"):
    READS.labels(_source)

_FLUSHED = text("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
_REPLAYED = text("SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint END")
"""NULL on a primary, also on one that was a replica."""


class Late(Exception):
    """A replica has not all that is needed."""


class Replica:
    def __init__(
        self, database: Database, primary: Database, redis_url: str, service: str, max_lag_seconds: float
    ) -> None:
        self._database, self._primary = database, primary
        self._redis_url, self._service, self._max_lag_seconds = redis_url, service, max_lag_seconds
        self._lock = Lock()
        self._positions: deque[tuple[float, int]] = deque()
        """The primary's, of the last `max_lag_seconds`, with the moment before it was asked."""
        self._retry_at = float("-inf")

    def read(self, caller: str, work: Callable[[], T]) -> T:
        """`work()` in a transaction. Raises Late, and SQLAlchemyError."""
        if time.monotonic() < self._retry_at:
            READS.labels("primary_unavailable").inc()
            raise Late
        try:
            needed = max(self._position_within_lag(), self._position_after_write(caller))
            with self._database.transaction():
                replayed = postgres.session().scalar(_REPLAYED)
                if replayed is None:
                    log.error("SOUK_REPLICA_URL leads to a server that is no replica")
                if replayed is None or replayed < needed:
                    READS.labels("primary_late").inc()
                    raise Late
                READS.labels("replica").inc()
                return work()
        except SQLAlchemyError as error:
            log.warning("replica not read", error=str(getattr(error, "orig", error)).partition("\n")[0])
            READS.labels("primary_unavailable").inc()
            self._retry_at = time.monotonic() + RETRY_SECONDS
            raise

    def note_write(self, caller: str) -> None:
        """After the commit, and before the caller hears of it."""
        try:
            position = self._flushed()
        except SQLAlchemyError:
            position = EVERYTHING
        # By then it is within the lag.
        milliseconds = int(self._max_lag_seconds * 1000) + 1
        try:
            redis.client(self._redis_url).set(self._key(caller), position, px=milliseconds)
        except redis.RedisError as error:
            log.warning("position of a write not kept: its caller may not see it at once", error=repr(error))

    def close(self) -> None:
        self._database.close()

    def _position_within_lag(self) -> int:
        """The oldest; asked of the primary by one thread at a time."""
        now = time.monotonic()
        if (not self._positions or now - self._positions[-1][0] > SAMPLE_SECONDS) and self._lock.acquire(False):
            try:
                self._positions.append((now, self._flushed()))
                while now - self._positions[0][0] > self._max_lag_seconds:
                    self._positions.popleft()
            finally:
                self._lock.release()
        return next((each for at, each in tuple(self._positions) if now - at <= self._max_lag_seconds), EVERYTHING)

    def _position_after_write(self, caller: str) -> int:
        if not caller:
            return 0
        try:
            return int(redis.client(self._redis_url).get(self._key(caller)) or 0)
        except redis.RedisError:
            return EVERYTHING

    def _key(self, caller: str) -> str:
        return f"souk:written:{self._service}:{caller}"

    def _flushed(self) -> int:
        with deadline.within(CHECK_SECONDS), self._primary.engine.connect() as connection:
            return int(connection.scalar(_FLUSHED))
