"""Timeouts, retries and limits of calls to one upstream. The defaults suit a small request to a service nearby."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    timeout_seconds: float = 5.0
    """For the call with all its tries; less where the current request has less time left."""

    connect_seconds: float = 0.5
    try_seconds: float = 2.0
    """For one try. Longer than the upstream's slowest good response; a shorter one leaves time for another instance."""

    tries: int = 3
    wait_base_seconds: float = 0.05
    wait_cap_seconds: float = 0.5
    """See `budget.wait_before`."""

    retry_share: float = 0.1
    """Retries as a share of calls, so that retries do not keep a failing upstream down."""

    retry_reserve: float = 10
    """Retries available before any calls have earned them."""

    failures_to_open: int = 5
    """Failures in a row, of an instance or of calls to the whole service, that open its circuit breaker."""

    open_seconds: float = 5.0
    """How long a breaker stays open before it lets one call probe."""

    concurrency: int | None = None
    """Calls in flight at once. None: half the process's threads, so that a slow upstream cannot take them all."""

    slot_seconds: float = 0.25
    """How long the upstream may return none of those before calls beyond them are turned away."""
