"""How many consumers a queue needs: up at once, down by one, and only when no message waits."""

import math
from dataclasses import dataclass
from enum import StrEnum

UTILISATION = 0.7
"""Of a consumer. Above it, waiting times grow fast (M/M/1: handling time / (1 - utilisation))."""


class Reason(StrEnum):
    """As in a condition."""

    NO_DATA = "NoData"
    AS_WANTED = "AsWanted"
    SCALED_UP = "ScaledUp"
    SCALED_DOWN = "ScaledDown"
    WAITING = "MessagesWait"
    """Fewer would do, once the queue is drained."""
    HOLDING = "DrainedTooShort"
    SETTLING = "LastStepUnfinished"
    GRACE_TOO_SHORT = "GraceTooShort"


@dataclass(frozen=True)
class Limits:
    min_replicas: int
    max_replicas: int
    concurrency: int = 1
    """Messages that one replica handles at the same time."""

    drain_seconds: float = 60.0
    """In which a backlog has to be handled."""

    hold_seconds: float = 120.0
    """For which the queue is drained before each step down."""

    def within(self, replicas: int) -> int:
        return max(self.min_replicas, min(replicas, self.max_replicas))


@dataclass(frozen=True)
class Load:
    ready: float
    unacknowledged: float
    arrival: float
    """Messages per second."""

    handling_seconds: float | None
    """For one message; None when none was handled."""

    @property
    def backlog(self) -> float:
        return self.ready + self.unacknowledged


@dataclass(frozen=True)
class Replicas:
    current: int
    settled: bool
    """Whether the last change is finished, with nothing still stopping."""

    grace_covers_handling: bool
    """Whether a stopped replica has the time to finish its messages."""


@dataclass(frozen=True)
class Decision:
    replicas: int
    reason: Reason
    wanted: int | None
    is_drained: bool
    """False starts `hold_seconds` anew."""


def wanted(load: Load, limits: Limits, current: int) -> int:
    if load.handling_seconds is None:
        # Unknown until a first message has been handled.
        return limits.within(max(current, 1) if load.backlog else 0)
    demand = max(load.arrival, 0.0) + load.backlog / limits.drain_seconds
    # Rounded, as 2.1 / 0.7 is a little more than 3.
    return limits.within(math.ceil(round(demand * load.handling_seconds / UTILISATION / limits.concurrency, 6)))


def decide(load: Load | None, replicas: Replicas, drained_seconds: float | None, limits: Limits) -> Decision:
    """drained_seconds: since when fewer would do and no message waited; None: not since the last decision."""
    current = replicas.current
    if load is None:
        return Decision(max(current, limits.min_replicas), Reason.NO_DATA, None, False)
    target = wanted(load, limits, current)
    if target > current:
        return Decision(target, Reason.SCALED_UP, target, False)
    if target == current:
        return Decision(current, Reason.AS_WANTED, target, False)
    if load.ready and current <= limits.max_replicas:
        return Decision(current, Reason.WAITING, target, False)
    if not replicas.grace_covers_handling:
        return Decision(current, Reason.GRACE_TOO_SHORT, target, False)
    if not replicas.settled:
        return Decision(current, Reason.SETTLING, target, False)
    if drained_seconds is None or drained_seconds < limits.hold_seconds:
        return Decision(current, Reason.HOLDING, target, True)
    return Decision(current - 1, Reason.SCALED_DOWN, target, False)
