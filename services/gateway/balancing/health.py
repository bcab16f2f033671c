"""Whether a target's address is well: counts successes and failures in a row, from real traffic and from probes alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from structlog import get_logger

log = get_logger(__name__)

Failure = Literal["http_failures", "tcp_failures", "timeouts"]


class Thresholds(Protocol):
    """The `unhealthy` part of active or passive checks; 0 never counts."""

    @property
    def http_failures(self) -> int: ...
    @property
    def tcp_failures(self) -> int: ...
    @property
    def timeouts(self) -> int: ...


@dataclass(slots=True)
class Health:
    """Outlives reloads: kept by upstream's name and address."""

    upstream: str
    address: str
    is_healthy: bool = True
    successes: int = 0
    http_failures: int = 0
    tcp_failures: int = 0
    timeouts: int = 0

    def succeeded(self, needed: int) -> None:
        """`needed` successes in a row make it healthy again; 0: it never does so by itself."""
        self._forget_failures()
        if not self.is_healthy and needed:
            self.successes += 1
            if self.successes >= needed:
                self.mark(is_healthy=True)

    def failed(self, failure: Failure, thresholds: Thresholds) -> None:
        limit: int = getattr(thresholds, failure)
        if not limit:
            return
        self.successes = 0
        count = getattr(self, failure) + 1
        setattr(self, failure, count)
        if self.is_healthy and count >= limit:
            self.mark(is_healthy=False)

    def mark(self, is_healthy: bool) -> None:
        if is_healthy != self.is_healthy:
            log.warning("target changed", upstream=self.upstream, address=self.address, healthy=is_healthy)
        self.is_healthy = is_healthy
        self.successes = 0
        self._forget_failures()

    def _forget_failures(self) -> None:
        self.http_failures = self.tcp_failures = self.timeouts = 0


class HealthRegistry:
    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Health] = {}

    def of(self, upstream: str, address: str) -> Health:
        return self._known.setdefault((upstream, address), Health(upstream, address))

    def retain(self, upstreams: Sequence[str]) -> None:
        """Forget the targets of upstreams that are gone."""
        self._known = {key: health for key, health in self._known.items() if key[0] in upstreams}
