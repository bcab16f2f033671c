"""Trying again: only what may be repeated, elsewhere if there is an elsewhere, and never so often that it becomes a storm."""

import random

import pytest

from chassis.base.problems import Unavailable
from chassis.clients import Client, Policy, TooSlow
from chassis.clients.budget import RetryBudget, wait_before
from tests.chassis.faulty import QUICK, Faulty, settings_for
from tests.conftest import free_port

NEVER_OPEN = Policy(failures_to_open=10**6, wait_base_seconds=0, wait_cap_seconds=0)


def call(client: Client, settings: object, method: str = "GET", **headers: str) -> bool:
    try:
        client.send(method, "/", settings, headers=headers)  # type: ignore[arg-type]
    except Unavailable:
        return False
    return True


@pytest.mark.parametrize(
    ("method", "headers", "times"),
    [("GET", {}, 3), ("PUT", {}, 3), ("DELETE", {}, 3), ("POST", {}, 1), ("POST", {"Idempotency-Key": "k"}, 3)],
)
def test_only_what_may_be_repeated_is_sent_again(
    upstream: Faulty, method: str, headers: dict[str, str], times: int
) -> None:
    upstream.status = 503
    assert not call(Client("upstream", QUICK), settings_for(upstream), method, **headers)
    assert len(upstream.seen) == times


def test_what_was_never_sent_may_be_sent_elsewhere_whatever_it_is(upstream: Faulty) -> None:
    settings = settings_for(f"http://127.0.0.1:{free_port()}", upstream)
    client = Client("upstream", QUICK)
    assert all(call(client, settings, "POST") for _ in range(20))
    assert len(upstream.seen) == 20


@pytest.mark.parametrize("how", ["hangs_up", "hangs", "fails"])
def test_no_call_fails_while_another_instance_is_well(upstream: Faulty, other: Faulty, how: str) -> None:
    if how == "fails":
        upstream.status = 500
    else:
        setattr(upstream, how, True)
    client, settings = Client("upstream", QUICK), settings_for(upstream, other)
    assert all(call(client, settings) for _ in range(30))
    # The breaker of the ill one opened, so most calls were not even tried there.
    assert len(upstream.seen) < 15


def test_with_everything_failing_the_upstream_gets_less_than_a_fifth_more_than_it_is_asked(upstream: Faulty) -> None:
    upstream.status = 503
    client, settings = Client("upstream", NEVER_OPEN), settings_for(upstream)
    assert not any(call(client, settings) for _ in range(200))
    assert 200 < len(upstream.seen) < 1.2 * 200


def test_and_with_its_breaker_far_less(upstream: Faulty) -> None:
    upstream.status = 503
    client, settings = Client("upstream", Policy(wait_base_seconds=0, open_seconds=60)), settings_for(upstream)
    assert not any(call(client, settings) for _ in range(200))
    assert len(upstream.seen) == 5


def test_a_call_does_not_outlive_its_deadline_by_trying_again(upstream: Faulty) -> None:
    upstream.hangs = True
    patient = Policy(timeout_seconds=0.3, try_seconds=0.2, tries=10, wait_base_seconds=0)
    with pytest.raises(TooSlow):
        Client("upstream", patient).get("/", {}, settings_for(upstream))
    assert len(upstream.seen) <= 3


def test_a_budget_saves_no_more_than_its_reserve() -> None:
    budget = RetryBudget(share=0.5, reserve=2)
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.earn()
    assert not budget.spend()
    budget.earn()
    assert budget.spend()


def test_pauses_grow_up_to_the_cap_and_are_spread_over_all_of_it() -> None:
    random.seed(1)
    for attempt, most in enumerate([0.1, 0.2, 0.4, 0.5, 0.5]):
        drawn = [wait_before(attempt, 0.1, 0.5) for _ in range(500)]
        assert min(drawn) < 0.1 * most
        assert 0.9 * most < max(drawn) <= most
