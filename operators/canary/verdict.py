"""Whether a canary may get more: compared with the stable release at the same moment, on requests and messages.

What cannot be compared is inconclusive. It pauses a rollout and never lets it pass.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum


class Result(StrEnum):
    PASSED = "Passed"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    ERROR = "Error"
    """Nothing could be measured."""


class Step(StrEnum):
    ADVANCE = "Advance"
    WAIT = "Wait"
    ABORT = "Abort"


@dataclass(frozen=True)
class Sample:
    """Of requests or of messages, in one window."""

    count: float
    failed: float
    slow: float
    """Those that took longer than the limit which both releases are held to."""

    def is_valid(self) -> bool:
        values = (self.count, self.failed, self.slow)
        return all(math.isfinite(each) and each >= 0 for each in values) and max(self.failed, self.slow) <= self.count


@dataclass(frozen=True)
class Limits:
    min_count: float = 100
    """Of each release, for a verdict."""

    max_more_failed: float = 0.01
    """Share of all, above the stable release's."""

    max_more_slow: float = 0.05
    failures: int = 2
    """Failed verdicts of the whole rollout that abort it."""

    inconclusive: int = 30
    """Verdicts of the whole rollout that came to no result, errors too."""

    errors: int = 10
    """Consecutive ones."""

    def longest(self, steps: int) -> int:
        """Verdicts after which a rollout of so many steps has ended, whatever they are."""
        return steps + self.failures - 1 + self.inconclusive - 1


@dataclass(frozen=True)
class Verdict:
    result: Result
    why: str


@dataclass(frozen=True)
class Tally:
    """Kept from verdict to verdict."""

    failures: int = 0
    inconclusive: int = 0
    errors: int = 0
    """Consecutive."""


Samples = Mapping[str, tuple[Sample | None, Sample | None]]
"""Stable and canary by what is sampled: requests, messages. None: it could not be measured."""


def compare(samples: Samples, limits: Limits) -> Verdict:
    """The worst of all; one that needs data it does not have is not outvoted by the others."""
    verdicts = [_compare(name, *pair, limits) for name, pair in samples.items()]
    order = [Result.FAILED, Result.ERROR, Result.INCONCLUSIVE, Result.PASSED]
    if not verdicts:
        return Verdict(Result.INCONCLUSIVE, "nothing is sampled")
    worst = min(verdicts, key=lambda each: order.index(each.result))
    return Verdict(worst.result, "; ".join(each.why for each in verdicts if each.result == worst.result))


def count(tally: Tally, verdict: Verdict, limits: Limits) -> tuple[Step, Tally]:
    match verdict.result:
        case Result.PASSED:
            return Step.ADVANCE, replace(tally, errors=0)
        case Result.FAILED:
            counted = replace(tally, failures=tally.failures + 1, errors=0)
        case Result.INCONCLUSIVE:
            counted = replace(tally, inconclusive=tally.inconclusive + 1, errors=0)
        case Result.ERROR:
            counted = replace(tally, inconclusive=tally.inconclusive + 1, errors=tally.errors + 1)
    is_over = (
        counted.failures >= limits.failures
        or counted.inconclusive >= limits.inconclusive
        or counted.errors >= limits.errors
    )
    return (Step.ABORT if is_over else Step.WAIT), counted


# --- inside


def _compare(name: str, stable: Sample | None, canary: Sample | None, limits: Limits) -> Verdict:
    if stable is None or canary is None:
        return Verdict(Result.ERROR, f"{name} could not be measured")
    if not (stable.is_valid() and canary.is_valid()):
        return Verdict(Result.INCONCLUSIVE, f"the measurement of {name} makes no sense")
    if canary.failed >= 1 and canary.failed == canary.count >= limits.min_count / 10:
        return Verdict(Result.FAILED, f"all {canary.count:.0f} {name} failed")
    for title, each in (("stable release", stable), ("canary", canary)):
        if each.count < limits.min_count:
            sampled = f"{each.count:.0f} of the {limits.min_count:.0f} {name} that a verdict takes"
            return Verdict(Result.INCONCLUSIVE, f"the {title} has {sampled}")
    for title, allowed, ours, theirs in (
        ("failed", limits.max_more_failed, canary.failed / canary.count, stable.failed / stable.count),
        ("were slow", limits.max_more_slow, canary.slow / canary.count, stable.slow / stable.count),
    ):
        # Rounded, as 0.06 - 0.05 is a little less than 0.01.
        if round(ours - theirs, 9) > allowed:
            shares = f"{ours:.1%} of {canary.count:.0f} {name} {title}, {theirs:.1%} of the stable release's"
            return Verdict(Result.FAILED, shares)
    return Verdict(Result.PASSED, f"{canary.count:.0f} {name} compared")
