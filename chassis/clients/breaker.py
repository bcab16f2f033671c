"""Circuit breaker of an instance or of a whole upstream: pybreaker's states, with calls side by side.

pybreaker keeps its lock for as long as a call takes, so a slow upstream would have all threads wait for one another. Here
the call happens between `admit` and `record`, and pybreaker only hears how it ended, under its lock but without waiting.
"""

import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from structlog import get_logger

from chassis.clients import metrics

# pybreaker imports redis where it is installed, for breakers that several processes share: 20 MB that we do not use.
_HIDES_REDIS = "redis" not in sys.modules
if _HIDES_REDIS:
    sys.modules["redis"] = None  # type: ignore[assignment]
import pybreaker  # noqa: E402

if _HIDES_REDIS:
    del sys.modules["redis"]

log = get_logger(__name__)


class _CallFailed(Exception):
    """What pybreaker is told for a call that failed."""


class Breaker:
    """Closed: all may call. Open, after so many failures in a row: none may. After a while one may, and its fate decides."""

    def __init__(self, upstream: str, scope: str, name: str, failures_to_open: int, open_seconds: float) -> None:
        """scope: "instance" or "service"; name: which one, for the log."""
        self._storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._open_for = timedelta(seconds=open_seconds)
        self._probing = threading.Lock()
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures_to_open,
            reset_timeout=open_seconds,
            state_storage=self._storage,
            listeners=[_Telling(upstream, scope)],
            name=name,
        )

    @property
    def is_closed(self) -> bool:
        return bool(self._storage.state == pybreaker.STATE_CLOSED)

    def admit(self) -> "Admission | None":
        """Leave to make one call now; its `record` must follow, whatever becomes of it. None: make none."""
        if self.is_closed:
            return Admission(self, is_probe=False)
        opened_at = self._storage.opened_at
        if opened_at is not None and datetime.now(UTC) < opened_at + self._open_for:
            return None
        return Admission(self, is_probe=True) if self._probing.acquire(blocking=False) else None

    def record(self, succeeded: bool, is_probe: bool) -> None:
        # What ends now but began before the breaker opened is old news.
        if is_probe or self.is_closed:
            self._tell(succeeded)
        if is_probe:
            self._probing.release()

    def _tell(self, succeeded: bool) -> None:
        def end() -> None:
            if not succeeded:
                raise _CallFailed

        with suppress(_CallFailed, pybreaker.CircuitBreakerError):
            self._breaker.call(end)


@dataclass(frozen=True, slots=True)
class Admission:
    breaker: Breaker
    is_probe: bool

    def record(self, succeeded: bool) -> None:
        """How the call ended."""
        self.breaker.record(succeeded, self.is_probe)


class _Telling(pybreaker.CircuitBreakerListener):
    def __init__(self, upstream: str, scope: str) -> None:
        self._upstream, self._scope = upstream, scope

    def state_change(self, breaker: pybreaker.CircuitBreaker, old: Any, new: Any) -> None:
        if pybreaker.STATE_CLOSED in (old.name, new.name):
            change = -1 if new.name == pybreaker.STATE_CLOSED else 1
            metrics.BREAKERS_OPEN.labels(self._upstream, self._scope).inc(change)
        metrics.BREAKER_CHANGES.labels(self._upstream, self._scope, new.name).inc()
        log.warning("breaker", upstream=self._upstream, scope=self._scope, name=breaker.name, state=new.name)
