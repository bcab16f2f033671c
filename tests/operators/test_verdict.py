"""When a canary passes, fails, or cannot be judged."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.canary.verdict import Limits, Result, Sample, Step, Tally, Verdict, compare, count

LIMITS = Limits()
GOOD = Sample(1_000, 2, 20)


def judged(stable: Sample | None, canary: Sample | None) -> Result:
    return compare({"requests": (stable, canary)}, LIMITS).result


@pytest.mark.parametrize(
    ("stable", "canary", "result"),
    [
        (GOOD, Sample(100, 0, 0), Result.PASSED),
        (GOOD, GOOD, Result.PASSED),
        (GOOD, Sample(1_000, 12, 70), Result.PASSED),
        (GOOD, Sample(1_000, 13, 20), Result.FAILED),
        (GOOD, Sample(1_000, 2, 71), Result.FAILED),
        # As bad as the stable release is not worse: something else is broken.
        (Sample(1_000, 500, 500), Sample(100, 50, 50), Result.PASSED),
        (GOOD, Sample(99, 0, 0), Result.INCONCLUSIVE),
        (Sample(99, 0, 0), GOOD, Result.INCONCLUSIVE),
        (GOOD, Sample(0, 0, 0), Result.INCONCLUSIVE),
        # All of a few say enough, one of one does not.
        (GOOD, Sample(10, 10, 0), Result.FAILED),
        (GOOD, Sample(9, 9, 0), Result.INCONCLUSIVE),
        (GOOD, None, Result.ERROR),
        (None, GOOD, Result.ERROR),
        (GOOD, Sample(math.nan, 0, 0), Result.INCONCLUSIVE),
        (GOOD, Sample(1_000, math.nan, 0), Result.INCONCLUSIVE),
        (Sample(math.inf, 0, 0), GOOD, Result.INCONCLUSIVE),
        (GOOD, Sample(1_000, -1, 0), Result.INCONCLUSIVE),
        (GOOD, Sample(1_000, 1_001, 0), Result.INCONCLUSIVE),
    ],
)
def test_a_verdict(stable: Sample | None, canary: Sample | None, result: Result) -> None:
    assert judged(stable, canary) == result


def test_a_failure_says_how_much_worse_it_is() -> None:
    verdict = compare({"messages": (GOOD, Sample(400, 40, 0))}, LIMITS)
    assert verdict.why == "10.0% of 400 messages failed, 0.2% of the stable release's"


@pytest.mark.parametrize(
    ("messages", "result"),
    [
        (GOOD, Result.PASSED),
        (Sample(1_000, 100, 0), Result.FAILED),
        (Sample(1, 0, 0), Result.INCONCLUSIVE),
        (None, Result.ERROR),
    ],
)
def test_good_requests_do_not_outvote_messages(messages: Sample | None, result: Result) -> None:
    assert compare({"requests": (GOOD, GOOD), "messages": (GOOD, messages)}, LIMITS).result == result


def test_nothing_sampled_is_inconclusive() -> None:
    assert compare({}, LIMITS).result == Result.INCONCLUSIVE


numbers = st.floats(0, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf, -1.0])
samples = st.none() | st.builds(Sample, numbers, numbers, numbers)


@given(samples, samples)
def test_only_a_whole_sample_of_both_passes(stable: Sample | None, canary: Sample | None) -> None:
    if judged(stable, canary) == Result.PASSED:
        for each in (stable, canary):
            assert each is not None
            assert each.is_valid()
            assert each.count >= LIMITS.min_count


# --- from verdict to verdict


def steps(*results: Result) -> list[Step]:
    limits, tally, taken = Limits(failures=2, inconclusive=4, errors=2), Tally(), []
    for result in results:
        step, tally = count(tally, Verdict(result, ""), limits)
        taken.append(step)
    return taken


P, F, I, E = Result.PASSED, Result.FAILED, Result.INCONCLUSIVE, Result.ERROR  # noqa: E741


@pytest.mark.parametrize(
    ("results", "last"),
    [
        ([P], Step.ADVANCE),
        ([F], Step.WAIT),
        ([F, F], Step.ABORT),
        ([F, P, F], Step.ABORT),
        ([I, I, I], Step.WAIT),
        ([I, I, I, I], Step.ABORT),
        ([I, P, I, F, I, I], Step.ABORT),
        ([E, E], Step.ABORT),
        ([E, I, E], Step.WAIT),
        ([E, P, E], Step.WAIT),
        # An error has no result either.
        ([E, I, E, I], Step.ABORT),
    ],
)
def test_limits(results: list[Result], last: Step) -> None:
    assert steps(*results)[-1] == last


@given(st.lists(st.sampled_from(Result), max_size=30))
def test_only_a_pass_advances(results: list[Result]) -> None:
    for result, step in zip(results, steps(*results), strict=True):
        assert (step == Step.ADVANCE) == (result == Result.PASSED)


@given(st.lists(st.sampled_from(Result), min_size=8, max_size=12), st.integers(1, 4))
def test_whatever_the_verdicts_are_it_ends(results: list[Result], steps: int) -> None:
    limits, tally = Limits(failures=2, inconclusive=4, errors=3), Tally()
    taken: list[Step] = []
    while Step.ABORT not in taken and taken.count(Step.ADVANCE) < steps:
        step, tally = count(tally, Verdict(results[len(taken)], ""), limits)
        taken.append(step)
    assert len(taken) <= limits.longest(steps)
