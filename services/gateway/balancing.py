"""Which target of an upstream gets the next try."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator

from services.gateway.connections import Pool
from services.gateway.schema import Target

DEFAULT_TARGET_PORT = 8000
"""Kong's, for a target without a port."""


class RoundRobin:
    """Exact over a cycle: weights 3 and 1 give A A A B, again and again."""

    def __init__(self, targets: Iterable[Target], pool_of: Callable[[str, int], Pool]) -> None:
        weighted = [(pool_of(*_address(target.target)), target.weight) for target in targets if target.weight]
        unit = math.gcd(*(weight for _, weight in weighted)) if weighted else 1
        slots = [pool for pool, weight in weighted for _ in range(weight // unit)]
        # `next` on a cycle is one step of the interpreter: threads need no lock.
        self._cycle: Iterator[Pool] = itertools.cycle(slots)

    def choose(self) -> Pool | None:
        """None when no target takes traffic."""
        return next(self._cycle, None)


def _address(target: str) -> tuple[str, int]:
    host, separator, port = target.rpartition(":")
    return (host, int(port)) if separator else (port, DEFAULT_TARGET_PORT)
