"""Circuit breaker (Nygard, "Release It!", 2007)."""

import threading
import time
from dataclasses import dataclass

from structlog import get_logger

from chassis.clients import metrics

log = get_logger(__name__)


class Breaker:
    """Open after failures in a row; half-open after `open_seconds`: one call decides."""

    def __init__(self, upstream: str, scope: str, name: str, failures_to_open: int, open_seconds: float) -> None:
        """scope: "instance" or "service"; name: for the log."""
        self._upstream, self._scope, self._name = upstream, scope, name
        self._failures_to_open, self._open_seconds = failures_to_open, open_seconds
        self._failures = 0
        self._open_until: float | None = None
        self._is_probing = False
        self._lock = threading.Lock()

    @property
    def is_closed(self) -> bool:
        return self._open_until is None

    def admit(self, has_full_time: bool = True) -> "Admission | None":
        """None: do not call. The call must `record`.

        has_full_time: a call cut short by its caller's deadline would prove little as a probe, so it is one only when no
        other has come.
        """
        with self._lock:
            if self._open_until is None:
                return Admission(self, is_probe=False)
            due = self._open_until if has_full_time else self._open_until + self._open_seconds
            if self._is_probing or time.monotonic() < due:
                return None
            self._is_probing = True
            self._report("half-open")
            return Admission(self, is_probe=True)

    def record(self, succeeded: bool | None, is_probe: bool) -> None:
        """None: the call says nothing about the upstream."""
        with self._lock:
            if is_probe:
                self._is_probing = False
            elif self._open_until is not None:
                return  # it began before the breaker opened
            if succeeded is None:
                if is_probe:
                    self._open_until = time.monotonic()
                return
            self._failures = 0 if succeeded else self._failures + 1
            if is_probe and succeeded:
                self._open_until = None
                self._report("closed")
            elif is_probe or self._failures >= self._failures_to_open:
                self._open_until = time.monotonic() + self._open_seconds
                self._report("open")

    def _report(self, state: str) -> None:
        metrics.BREAKER_CHANGES.labels(self._upstream, self._scope, state).inc()
        log.warning("circuit breaker", upstream=self._upstream, scope=self._scope, name=self._name, state=state)


@dataclass(frozen=True, slots=True)
class Admission:
    breaker: Breaker
    is_probe: bool

    def record(self, succeeded: bool | None) -> None:
        self.breaker.record(succeeded, self.is_probe)
