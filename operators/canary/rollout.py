"""How a release takes over from the one that runs: step by step, after a verdict on each, or back."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from operators.canary.verdict import Limits, Step, Tally, Verdict, count


class Stage(StrEnum):
    """As in a condition."""

    STARTING = "Starting"
    """Its pods get ready, and no request reaches them."""
    PREVIEW = "Preview"
    """They are looked at."""
    JUDGING = "Judging"
    PROMOTING = "Promoting"
    """The stable programs get its image."""
    DRAINING = "Draining"
    PROMOTED = "Promoted"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"


AT_REST = (Stage.PROMOTED, Stage.ROLLED_BACK)
BEFORE_PROMOTION = (Stage.STARTING, Stage.PREVIEW, Stage.JUDGING)

MAX_WAIT = timedelta(minutes=10)
"""For a step to be in place: an edge that never reports its weights would leave those of the others unjudged."""


@dataclass(frozen=True)
class Release:
    image: str
    version: str


@dataclass(frozen=True)
class Wish:
    release: Release
    attempt: int = 0
    """Another one tries a release again that was rolled back."""


@dataclass(frozen=True)
class Plan:
    steps: tuple[int, ...]
    """Percent of the requests; in blue-green only 100."""
    interval: timedelta
    is_held: bool = False
    """Whether it stays in preview."""

    def weight(self, step: int) -> int:
        return self.steps[min(step, len(self.steps) - 1)]


@dataclass(frozen=True)
class Rollout:
    wish: Wish
    before: Release
    """What ran."""
    stage: Stage
    step: int = 0
    weight: int = 0
    """Percent of the requests that it shall get."""
    entered_at: datetime | None = None
    """This step."""
    begun_at: datetime | None = None
    """Its measurement: once everything was in place."""
    judged_at: datetime | None = None
    """Since when the next verdict's figures count."""
    tally: Tally = field(default_factory=Tally)
    why: str = ""
    """The last verdict, or what ended it."""

    def switched_for(self, now: datetime) -> timedelta:
        """For how long the stable release may have got no requests; 0 while it gets its share. Edges switch one after the other."""
        return now - self.entered_at if self.weight == 100 and self.entered_at else timedelta(0)


@dataclass(frozen=True)
class Facts:
    is_in_place: bool
    """Whether all that this stage wants is there."""
    failure: str = ""
    """What keeps it from ever being."""
    waits_for: str = ""


def begin(wish: Wish, running: Release) -> Rollout:
    if wish.release == running:
        return Rollout(wish, running, Stage.PROMOTED)
    if wish.release.version == running.version:
        why = f"version {running.version} runs already: figures of two images of one version cannot be told apart"
        return Rollout(wish, running, Stage.ROLLED_BACK, why=why)
    return Rollout(wish, running, Stage.STARTING)


def after(
    rollout: Rollout,
    wish: Wish,
    plan: Plan,
    running: Release,
    facts: Facts,
    limits: Limits,
    judge: Callable[[], Verdict],
    now: datetime,
) -> Rollout:
    """The next stage or step, or the same. judge: asked only when a verdict is due."""
    if rollout.stage in AT_REST:
        return rollout if wish == rollout.wish else begin(wish, running)
    if rollout.stage == Stage.DRAINING:
        return replace(rollout, stage=Stage.PROMOTED) if facts.is_in_place else rollout
    if rollout.stage == Stage.ROLLING_BACK:
        if not facts.is_in_place:
            return rollout
        return replace(rollout, stage=Stage.ROLLED_BACK) if wish == rollout.wish else begin(wish, running)
    if wish != rollout.wish:
        return _back(rollout, "another release is wanted")
    if rollout.stage in BEFORE_PROMOTION and running != rollout.before:
        return _back(rollout, f"somebody else gave {running.image} to the stable programs")
    if facts.failure:
        return _back(rollout, facts.failure)
    if rollout.stage == Stage.JUDGING:
        return _judging(rollout, plan, facts, limits, judge, now)
    if not facts.is_in_place:
        return rollout
    if rollout.stage == Stage.PROMOTING:
        return replace(rollout, stage=Stage.DRAINING, weight=0)
    return replace(rollout, stage=Stage.PREVIEW) if plan.is_held else _entered(rollout, 0, plan, now)


# --- inside


def _entered(rollout: Rollout, step: int, plan: Plan, now: datetime) -> Rollout:
    return replace(
        rollout,
        stage=Stage.JUDGING,
        step=step,
        weight=plan.weight(step),
        entered_at=now,
        begun_at=None,
        judged_at=None,
    )


def _judging(
    rollout: Rollout, plan: Plan, facts: Facts, limits: Limits, judge: Callable[[], Verdict], now: datetime
) -> Rollout:
    if rollout.weight != plan.weight(rollout.step):
        # The steps are others than before: so far it was measured at another weight.
        return _entered(rollout, rollout.step, plan, now)
    if rollout.begun_at:
        return _judged(rollout, plan, limits, judge, now)
    if facts.is_in_place:
        return replace(rollout, begun_at=now, judged_at=now)
    if rollout.entered_at and now - rollout.entered_at > MAX_WAIT:
        return _back(rollout, f"waited too long for {facts.waits_for or 'its weights'}")
    return rollout


def _judged(rollout: Rollout, plan: Plan, limits: Limits, judge: Callable[[], Verdict], now: datetime) -> Rollout:
    if rollout.judged_at and now - rollout.judged_at < plan.interval:
        return rollout
    verdict = judge()
    step, tally = count(rollout.tally, verdict, limits)
    judged = replace(rollout, judged_at=now, tally=tally, why=f"{verdict.result}: {verdict.why}")
    match step:
        case Step.WAIT:
            return judged
        case Step.ABORT:
            return _back(judged, judged.why)
        case Step.ADVANCE if rollout.step + 1 < len(plan.steps):
            return _entered(judged, rollout.step + 1, plan, now)
        case Step.ADVANCE:
            return replace(judged, stage=Stage.PROMOTING)


def _back(rollout: Rollout, why: str) -> Rollout:
    return replace(rollout, stage=Stage.ROLLING_BACK, weight=0, why=why)
