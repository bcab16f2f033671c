"""Limits of calls to one upstream."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    timeout_seconds: float = 5.0
    """For all tries, within the request's deadline."""

    connect_seconds: float = 0.5
    try_seconds: float = 2.0
    """Above the slowest good response; leaves time for another try."""

    tries: int = 3
    wait_base_seconds: float = 0.05
    wait_cap_seconds: float = 0.5
    """See `budget.wait_before`."""

    retry_share: float = 0.1
    """Of calls."""

    retry_reserve: float = 10
    """Retries available at start."""

    failures_to_open: int = 5
    """In a row, of an instance or the service."""

    open_seconds: float = 5.0
    """Before a probe."""

    concurrency: int | None = None
    """None: half the threads."""

    slot_seconds: float = 0.25
    """How long further calls queue while none returns."""
