"""How a rollout goes on, and back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from operators.canary.rollout import MAX_WAIT, Facts, Plan, Release, Rollout, Stage, Wish, after, begin
from operators.canary.verdict import Limits, Result, Verdict

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
OLD, NEW, OTHER = Release("souk:1", "1"), Release("souk:2", "2"), Release("souk:3", "3")
WISH, PLAN, LIMITS = Wish(NEW), Plan((5, 50), timedelta(minutes=5)), Limits(failures=2, inconclusive=3, errors=3)
DONE, WAITING, FAILING = Facts(True), Facts(False), Facts(False, "orders-web-canary does not get ready")


def follow(
    rollout: Rollout,
    facts: Facts = DONE,
    wish: Wish = WISH,
    plan: Plan = PLAN,
    running: Release = OLD,
    result: Result | None = None,
    now: datetime = NOW,
) -> Rollout:
    """result: of a verdict, which is not expected without."""

    def judge() -> Verdict:
        assert result
        return Verdict(result, "why")

    return after(rollout, wish, plan, running, facts, LIMITS, judge, now)


STARTING = begin(WISH, OLD)
JUDGING = follow(STARTING)
BEGUN = follow(JUDGING)
LATER = NOW + PLAN.interval


def at(stage: Stage) -> Rollout:
    return JUDGING if stage == Stage.JUDGING else replace(STARTING, stage=stage)


@pytest.mark.parametrize(
    ("stage", "plan", "following"),
    [
        (Stage.STARTING, PLAN, Stage.JUDGING),
        (Stage.STARTING, replace(PLAN, is_held=True), Stage.PREVIEW),
        (Stage.PREVIEW, replace(PLAN, is_held=True), Stage.PREVIEW),
        (Stage.PREVIEW, PLAN, Stage.JUDGING),
        (Stage.PROMOTING, PLAN, Stage.DRAINING),
        (Stage.DRAINING, PLAN, Stage.PROMOTED),
        (Stage.ROLLING_BACK, PLAN, Stage.ROLLED_BACK),
        (Stage.PROMOTED, PLAN, Stage.PROMOTED),
        (Stage.ROLLED_BACK, PLAN, Stage.ROLLED_BACK),
    ],
)
def test_a_stage_ends_when_everything_is_in_place(stage: Stage, plan: Plan, following: Stage) -> None:
    assert follow(at(stage), plan=plan).stage == following
    assert follow(at(stage), WAITING, plan=plan).stage == stage


@pytest.mark.parametrize("stage", Stage)
def test_what_never_gets_ready_is_rolled_back(stage: Stage) -> None:
    ends = stage in (Stage.DRAINING, Stage.PROMOTED, Stage.ROLLED_BACK)
    found = follow(at(stage), FAILING)
    assert found.stage == (stage if ends else Stage.ROLLING_BACK)


@pytest.mark.parametrize("stage", [Stage.STARTING, Stage.PREVIEW, Stage.JUDGING, Stage.PROMOTING])
@pytest.mark.parametrize("release", [OTHER, OLD])
def test_another_wish_goes_back_first(stage: Stage, release: Release) -> None:
    wish = Wish(release)
    back = follow(at(stage), wish=wish)
    assert (back.stage, back.wish) == (Stage.ROLLING_BACK, WISH)
    found = follow(back, wish=wish)
    assert (found.stage, found.wish) == (Stage.PROMOTED if release == OLD else Stage.STARTING, wish)


def test_a_step_is_judged_once_its_figures_are_its_own() -> None:
    assert follow(JUDGING, WAITING).begun_at is None
    assert (BEGUN.begun_at, BEGUN.judged_at) == (NOW, NOW)
    # From then on pods may come and go.
    assert follow(BEGUN, WAITING, now=LATER - timedelta(seconds=1)) == BEGUN
    passed = follow(BEGUN, WAITING, result=Result.PASSED, now=LATER)
    assert (passed.step, passed.weight, passed.begun_at, passed.stage) == (1, 50, None, Stage.JUDGING)
    last = replace(passed, begun_at=NOW, judged_at=NOW)
    assert follow(last, result=Result.PASSED, now=LATER).stage == Stage.PROMOTING


@pytest.mark.parametrize(
    ("results", "stage"),
    [
        ([Result.FAILED], Stage.JUDGING),
        ([Result.FAILED, Result.FAILED], Stage.ROLLING_BACK),
        ([Result.INCONCLUSIVE] * 2, Stage.JUDGING),
        ([Result.INCONCLUSIVE] * 3, Stage.ROLLING_BACK),
        ([Result.ERROR] * 3, Stage.ROLLING_BACK),
    ],
)
def test_only_so_many_verdicts_are_waited_for(results: list[Result], stage: Stage) -> None:
    rollout, now = BEGUN, NOW
    for result in results:
        now += PLAN.interval
        rollout = follow(rollout, result=result, now=now)
        assert rollout.step == 0
    assert rollout.stage == stage
    assert rollout.why == f"{results[-1]}: why"


def test_the_stable_release_has_its_last_requests_before_the_first_edge_switches() -> None:
    switching = follow(STARTING, plan=replace(PLAN, steps=(100,)))
    begun = follow(switching, plan=replace(PLAN, steps=(100,)), now=NOW + timedelta(minutes=2))
    assert begun.switched_for(LATER) == PLAN.interval
    assert BEGUN.switched_for(LATER) == timedelta(0)


def test_what_runs_already_is_promoted() -> None:
    assert begin(Wish(OLD), OLD).stage == Stage.PROMOTED


def test_a_second_image_of_a_version_is_refused() -> None:
    refused = begin(Wish(Release("souk:2", "1")), OLD)
    assert refused.stage == Stage.ROLLED_BACK
    assert "version 1 runs already" in refused.why


def test_what_was_rolled_back_is_tried_again_when_asked() -> None:
    assert follow(at(Stage.ROLLED_BACK), wish=Wish(NEW, attempt=1)).stage == Stage.STARTING
    assert follow(at(Stage.PROMOTED), wish=Wish(OTHER), running=NEW).stage == Stage.STARTING


def test_fewer_steps_than_before_end_it() -> None:
    one, second = replace(PLAN, steps=(5,)), replace(BEGUN, step=1, weight=50)
    begun = follow(follow(second, plan=one), plan=one)
    assert (begun.weight, begun.begun_at) == (5, NOW)
    assert follow(begun, plan=one, result=Result.PASSED, now=LATER).stage == Stage.PROMOTING


def test_a_step_of_another_weight_is_measured_anew() -> None:
    other = replace(PLAN, steps=(25, 50))
    entered = follow(BEGUN, plan=other, now=LATER)
    assert (entered.step, entered.weight, entered.begun_at) == (0, 25, None)
    begun = follow(entered, plan=other, now=LATER)
    assert follow(begun, plan=other, now=LATER + PLAN.interval / 2) == begun
    # A step to come changes nothing of this one.
    assert follow(BEGUN, plan=replace(PLAN, steps=(5, 25)), now=NOW) == BEGUN


def test_one_that_is_promoted_keeps_the_weight_that_it_was_judged_at() -> None:
    promoting = replace(BEGUN, stage=Stage.PROMOTING, step=1, weight=50)
    assert follow(promoting, WAITING, plan=replace(PLAN, steps=(5, 99))) == promoting


def test_a_step_that_is_never_in_place_goes_back() -> None:
    waiting = Facts(False, waits_for="gateway-b")
    assert follow(JUDGING, waiting, now=NOW + MAX_WAIT) == JUDGING
    back = follow(JUDGING, waiting, now=NOW + MAX_WAIT + timedelta(seconds=1))
    assert (back.stage, back.weight, back.why) == (Stage.ROLLING_BACK, 0, "waited too long for gateway-b")


@pytest.mark.parametrize("stage", [Stage.STARTING, Stage.PREVIEW, Stage.JUDGING])
def test_a_release_beside_another_stable_one_goes_back(stage: Stage) -> None:
    back = follow(at(stage), running=OTHER)
    assert (back.stage, back.why) == (Stage.ROLLING_BACK, "somebody else gave souk:3 to the stable programs")
