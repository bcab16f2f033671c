"""How many pods a canary has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.canary.objects import replicas_of


def beside(stable: int, role: str, weight: int) -> int:
    return replicas_of({"spec": {"replicas": stable}}, role, weight)


@pytest.mark.parametrize(
    ("stable", "weight", "web", "workers"),
    [(2, 5, 1, 0), (20, 5, 1, 1), (4, 25, 1, 1), (1, 50, 1, 1), (3, 50, 2, 3), (10, 99, 10, 10), (3, 100, 3, 3)],
)
def test_pods_follow_the_weight(stable: int, weight: int, web: int, workers: int) -> None:
    assert (beside(stable, "web", weight), beside(stable, "worker", weight)) == (web, workers)


@given(st.integers(1, 100), st.integers(1, 99))
def test_consumers_get_no_more_than_the_weight_and_are_no_more_than_the_stable_ones(stable: int, weight: int) -> None:
    found = beside(stable, "worker", weight)
    assert found <= stable
    assert found * 100 <= weight * (stable + found)
