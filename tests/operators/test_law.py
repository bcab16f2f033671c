"""How many consumers a queue gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.scaler.law import Decision, Limits, Load, Reason, Replicas, decide, wanted

LIMITS = Limits(1, 10)
IDLE = Load(0, 0, 0, 0.1)

loads = st.builds(
    Load,
    ready=st.floats(0, 1e6),
    unacknowledged=st.floats(0, 1e4),
    arrival=st.floats(-10, 1e4),
    handling_seconds=st.none() | st.floats(0, 60),
)
limits = st.builds(
    lambda low, more, concurrency: Limits(low, low + more, concurrency),
    st.integers(0, 5),
    st.integers(0, 20),
    st.integers(1, 16),
)
replicas = st.builds(Replicas, st.integers(0, 30), st.booleans(), st.booleans())
drained = st.none() | st.floats(0, 1e4)


@pytest.mark.parametrize(
    ("load", "consumers"),
    [
        (IDLE, 1),
        (Load(0, 0, 7, 0.1), 1),
        (Load(0, 0, 21, 0.1), 3),
        (Load(0, 0, 21.1, 0.1), 4),
        (Load(0, 0, 1_000, 0.1), 10),
        # A backlog of 600 in 60 s is 10 a second.
        (Load(600, 0, 4, 0.1), 2),
        (Load(300, 300, 4, 0.1), 2),
        # Nobody has handled any yet, or nobody can at present.
        (Load(5, 0, 1, None), 2),
        (Load(0, 0, 0, None), 1),
    ],
)
def test_wanted(load: Load, consumers: int) -> None:
    assert wanted(load, LIMITS, current=2) == consumers


def test_a_replica_that_handles_several_at_once_counts_as_several() -> None:
    assert wanted(Load(0, 0, 560, 0.1), Limits(1, 100, concurrency=8), 1) == 10


def test_the_first_message_gets_a_consumer_where_there_is_none() -> None:
    assert wanted(Load(1, 0, 0, None), Limits(0, 10), 0) == 1
    assert wanted(Load(0, 0, 0, None), Limits(0, 10), 0) == 0


@pytest.mark.parametrize(
    ("load", "state", "drained_seconds", "after", "reason"),
    [
        (None, Replicas(4, True, True), 1e6, 4, Reason.NO_DATA),
        (None, Replicas(0, True, True), 1e6, 1, Reason.NO_DATA),
        (Load(0, 0, 70, 0.1), Replicas(4, False, False), None, 10, Reason.SCALED_UP),
        (Load(0, 0, 28, 0.1), Replicas(4, True, True), 1e6, 4, Reason.AS_WANTED),
        (Load(1, 0, 0, 0.1), Replicas(4, True, True), 1e6, 4, Reason.WAITING),
        (IDLE, Replicas(4, True, True), None, 4, Reason.HOLDING),
        (IDLE, Replicas(4, True, True), 119, 4, Reason.HOLDING),
        (IDLE, Replicas(4, True, True), 120, 3, Reason.SCALED_DOWN),
        (IDLE, Replicas(4, False, True), 1e6, 4, Reason.SETTLING),
        (IDLE, Replicas(4, True, False), 1e6, 4, Reason.GRACE_TOO_SHORT),
        # Less than the minimum is no load's doing.
        (IDLE, Replicas(0, True, True), None, 1, Reason.SCALED_UP),
    ],
)
def test_a_decision(load: Load | None, state: Replicas, drained_seconds: float, after: int, reason: Reason) -> None:
    decision = decide(load, state, drained_seconds, LIMITS)
    assert (decision.replicas, decision.reason) == (after, reason)


@given(loads, replicas, drained, limits)
def test_it_goes_up_at_once_and_down_by_one(
    load: Load, state: Replicas, drained_seconds: float | None, limits: Limits
) -> None:
    decision = decide(load, state, drained_seconds, limits)
    assert decision.replicas >= state.current - 1
    target = wanted(load, limits, state.current)
    assert limits.min_replicas <= target <= limits.max_replicas
    if target >= state.current:
        assert decision.replicas == target


@given(loads, replicas, drained, limits)
def test_a_step_down_needs_a_drained_queue_time_and_the_last_step_done(
    load: Load, state: Replicas, drained_seconds: float | None, limits: Limits
) -> None:
    decision = decide(load, state, drained_seconds, limits)
    if decision.replicas < state.current:
        assert not load.ready or state.current > limits.max_replicas
        assert drained_seconds is not None
        assert drained_seconds >= limits.hold_seconds
        assert state.settled
        assert state.grace_covers_handling


@given(loads, st.floats(0, 1e5), limits, st.integers(0, 30))
def test_more_messages_never_mean_fewer_consumers(load: Load, more: float, limits: Limits, current: int) -> None:
    fewer = wanted(load, limits, current)
    waiting = Load(load.ready + more, load.unacknowledged, load.arrival, load.handling_seconds)
    arriving = Load(load.ready, load.unacknowledged, load.arrival + more, load.handling_seconds)
    assert wanted(waiting, limits, current) >= fewer
    assert wanted(arriving, limits, current) >= fewer


@given(st.floats(0, 500), st.floats(0.001, 1), st.integers(1, 30))
def test_it_comes_to_rest(arrival: float, seconds: float, current: int) -> None:
    limits = Limits(1, 30)
    load = Load(0, 0, arrival, seconds)
    seen = [current]
    for _ in range(40):
        decision: Decision = decide(load, Replicas(seen[-1], True, True), 1e6, limits)
        seen.append(decision.replicas)
    assert seen[-1] == wanted(load, limits, seen[-1])
    assert seen[-5:] == [seen[-1]] * 5
