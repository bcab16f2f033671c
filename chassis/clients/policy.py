"""How patient and how stubborn calls to one upstream are. The defaults suit a small question to a service next door."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    timeout_seconds: float = 5.0
    """For the whole call with all its tries; less where the request at hand has less time left."""

    connect_seconds: float = 0.5
    try_seconds: float = 2.0
    """For one try. Longer than the upstream's slowest honest answer; shorter leaves time for another instance."""

    tries: int = 3
    wait_base_seconds: float = 0.05
    wait_cap_seconds: float = 0.5
    """Before the n-th further try a random time up to base * 2**n, at most the cap."""

    retry_share: float = 0.1
    """Further tries, as a share of calls. When everything fails, retries must not become the storm that keeps it failing."""

    retry_reserve: float = 10
    """So many further tries are had at once, before any calls have earned them."""

    failures_to_open: int = 5
    """Failures in a row, of an instance or of calls to the whole service, after which nothing is sent for a while."""

    open_seconds: float = 5.0
    """For how long, until one call is let through to see whether it works again."""

    concurrency: int | None = None
    """Calls under way at once. None: half the process's threads, so that a slow upstream cannot have them all."""

    slot_seconds: float = 0.25
    """How long the upstream may answer none of those until nobody waits for a place among them any more."""

    hedge_after_seconds: float | None = None
    """A read that has no answer after this time is also sent to a second instance, and the first answer counts.

    Near the upstream's p95: about one call in twenty is then sent twice, and the slowest ones get fast. None: never.
    """
