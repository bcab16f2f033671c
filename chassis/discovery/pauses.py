"""Pauses before watches while those before brought nothing: a server that ends each at once is not to be kept busy."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

from chassis.discovery.slices import Slices

STEP_SECONDS, MAX_SECONDS = 2.0, 8.0


class Pauses:
    def __init__(self) -> None:
        self._fruitless = 0

    def seconds(self) -> float:
        """0, 2, 4 .. at most, and half of it at least: many clients do not return at once."""
        longest = min(STEP_SECONDS * max(self._fruitless - 1, 0), MAX_SECONDS)
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, guards nothing

    @contextmanager
    def watch(self, slices: Slices, wait_seconds: float) -> Iterator[None]:
        """Around one, which may wait for so long if nothing happens."""
        began, changes = time.monotonic(), slices.changes
        try:
            yield
        finally:
            is_fruitful = slices.changes != changes or time.monotonic() - began >= wait_seconds / 2
            self._fruitless = 0 if is_fruitful else self._fruitless + 1
