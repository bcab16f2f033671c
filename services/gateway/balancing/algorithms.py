"""Kong's algorithms, rebuilt when nodes change."""

import bisect
import hashlib
import itertools
import math
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from services.gateway.balancing.nodes import Node

POINTS_PER_WEIGHT = 1.6
"""Keeps shares within a few percent."""

MAX_POINTS = 100_000


class Algorithm(Protocol):
    def choose(self, tried: Collection[Node], key: str | None) -> Node:
        """`tried` failed this request; `key` is hashed. At least one node exists."""


class RoundRobin:
    """Exact over a cycle: weights 3 and 1 give A A A B."""

    def __init__(self, nodes: Sequence[Node], turn: "itertools.count[int]") -> None:
        unit = math.gcd(*(node.weight for node in nodes))
        self._nodes = nodes
        self._ends = list(itertools.accumulate(node.weight // unit for node in nodes))
        self._turn = turn

    def choose(self, tried: Collection[Node], key: str | None) -> Node:
        node = self._next()
        if tried and len(tried) < len(self._nodes):
            while node in tried:
                node = self._next()
        return node

    def _next(self) -> Node:
        return self._nodes[bisect.bisect_right(self._ends, next(self._turn) % self._ends[-1])]


class LeastConnections:
    def __init__(self, nodes: Sequence[Node], turn: "itertools.count[int]") -> None:
        self._nodes = nodes
        self._turn = turn

    def choose(self, tried: Collection[Node], key: str | None) -> Node:
        """Fewest requests in progress for its weight; equals alternate."""
        fresh = [node for node in self._nodes if node not in tried] or list(self._nodes)
        lowest = min((node.active + 1) / node.weight for node in fresh)
        best = [node for node in fresh if (node.active + 1) / node.weight == lowest]
        return best[next(self._turn) % len(best)]


class ConsistentHashing:
    """Removing a node moves only its own keys."""

    def __init__(self, nodes: Sequence[Node], turn: "itertools.count[int]") -> None:
        scale = min(POINTS_PER_WEIGHT, MAX_POINTS / sum(node.weight for node in nodes))
        points = [
            (_position(f"{node.target} {node.address} {index}"), node)
            for node in nodes
            for index in range(max(1, round(node.weight * scale)))
        ]
        points.sort(key=lambda point: point[0])
        self._positions = [position for position, _ in points]
        self._owners = [node for _, node in points]

    def choose(self, tried: Collection[Node], key: str | None) -> Node:
        """As in Kong, only health checks remove a failed owner."""
        place = bisect.bisect(self._positions, _position(key or ""))
        return self._owners[place % len(self._owners)]


def _position(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


Make = Callable[[Sequence[Node], "itertools.count[int]"], Algorithm]

ALGORITHMS: dict[str, Make] = {
    "round-robin": RoundRobin,
    "least-connections": LeastConnections,
    "consistent-hashing": ConsistentHashing,
}
