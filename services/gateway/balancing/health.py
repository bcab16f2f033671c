"""Health of an address: consecutive successes and failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from structlog import get_logger

log = get_logger(__name__)

Failure = Literal["http_failures", "tcp_failures", "timeouts"]


class Thresholds(Protocol):
    """The `unhealthy` part of checks; 0 disables a count."""

    @property
    def http_failures(self) -> int: ...
    @property
    def tcp_failures(self) -> int: ...
    @property
    def timeouts(self) -> int: ...


@dataclass(slots=True)
class Health:
    """Kept over reloads, by upstream name and address."""

    upstream: str
    address: str
    is_healthy: bool = True
    successes: int = 0
    http_failures: int = 0
    tcp_failures: int = 0
    timeouts: int = 0

    def succeeded(self, needed: int) -> None:
        """Healthy again after `needed` in a row; 0: never."""
        self._reset_failures()
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
            log.warning("target health changed", upstream=self.upstream, address=self.address, healthy=is_healthy)
        self.is_healthy = is_healthy
        self.successes = 0
        self._reset_failures()

    def _reset_failures(self) -> None:
        self.http_failures = self.tcp_failures = self.timeouts = 0


class HealthRegistry:
    def __init__(self) -> None:
        self._health_by_key: dict[tuple[str, str], Health] = {}

    def of(self, upstream: str, address: str) -> Health:
        return self._health_by_key.setdefault((upstream, address), Health(upstream, address))

    def retain(self, upstreams: Sequence[str]) -> None:
        self._health_by_key = {key: health for key, health in self._health_by_key.items() if key[0] in upstreams}
