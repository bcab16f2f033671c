"""Timeouts, retries and limits of calls to one upstream."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    timeout_seconds: float = 5.0
    """With all tries; less if the current request has less left."""

    connect_seconds: float = 0.5
    try_seconds: float = 2.0
    """Longer than the slowest good response; short enough to try another instance."""

    tries: int = 3
    wait_base_seconds: float = 0.05
    wait_cap_seconds: float = 0.5
    """See `budget.wait_before`."""

    retry_share: float = 0.1
    """Retries as a share of calls."""

    retry_reserve: float = 10
    """Retries available before any calls have earned them."""

    failures_to_open: int = 5
    """Failures in a row that open a circuit breaker, of an instance or of the service."""

    open_seconds: float = 5.0
    """How long a breaker stays open before a probe."""

    concurrency: int | None = None
    """Calls in flight. None: half the process's threads."""

    slot_seconds: float = 0.25
    """How long further calls queue while none of those returns."""
