"""How many pods a canary has, and what belongs to it."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.canary.objects import COMPONENT, EDGE, INSTANCE, canary_of, is_as, is_edge, replicas_of, weights_of
from operators.canary.rollout import Release


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


OWNER = {"metadata": {"name": "orders", "uid": "1"}}


def test_what_somebody_has_changed_is_not_as_the_operator_made_it() -> None:
    wanted = weights_of("orders-weights", {"orders": 95, "orders-canary": 5}, OWNER)
    stored = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": "7"}, "immutable": False}
    assert is_as(stored, wanted)
    assert not is_as(None, wanted)
    assert not is_as({**stored, "data": {"weights.json": "{}"}}, wanted)
    assert not is_as(stored, weights_of("orders-weights", {}, OWNER))


def test_what_the_api_server_leaves_out_is_as_the_operator_made_it() -> None:
    """Of a program that needs no migrations, and runs beside Consul."""
    pod = {"initContainers": [{"name": "sidecar", "image": "souk:1"}], "containers": [{"image": "souk:1"}]}
    template = {"metadata": {"labels": {COMPONENT: "web"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {COMPONENT: "web"}}, "template": template}
    wanted = canary_of({"metadata": {"name": "orders-web"}, "spec": spec}, Release("souk:2", "2"), 1, OWNER)
    stored = copy.deepcopy(wanted)
    assert stored["spec"]["template"]["spec"].pop("initContainers") == []
    assert is_as(stored, wanted)


def test_the_edge_is_that_of_the_same_release() -> None:
    web = {"spec": {"template": {"metadata": {"labels": {INSTANCE: "souk"}}}}}

    def found(**labels: str) -> bool:
        return is_edge({"metadata": {"labels": {**EDGE, INSTANCE: "souk"} | labels}}, web)

    assert found()
    assert not found(**{INSTANCE: "other"})
    assert not found(**{"app.kubernetes.io/name": "varnish"})
    assert not is_edge({"metadata": {}}, web)
