"""Limits retries: they must not worsen an outage."""

import random
import threading


class RetryBudget:
    """Each call earns `share` of a retry, up to `reserve`.

    Source: Finagle's RetryBudget and gRPC's retry throttling (proposal A6).
    """

    def __init__(self, share: float, reserve: float) -> None:
        self._share, self._reserve = share, reserve
        self._saved = reserve
        self._lock = threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._saved = min(self._saved + self._share, self._reserve)

    def spend(self) -> bool:
        """False: no retry left."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            return True


def wait_before(attempt: int, base: float, cap: float) -> float:
    """Seconds to wait before retry `attempt`, counted from 0.

    Uniform in [0, min(cap, base * 2**attempt)], so that many clients do not return at once.
    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
    """
    return random.uniform(0, min(cap, base * 2**attempt))  # noqa: S311 - spreads load, guards nothing
