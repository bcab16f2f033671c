"""Retries: on another instance if there is one, and never so many that they become a storm."""

import random
from dataclasses import replace

import pytest

from chassis.base.problems import Unavailable
from chassis.base.settings import Settings
from chassis.clients import Client, Policy, TooSlow
from chassis.clients.budget import RetryBudget, wait_before
from chassis.clients.peers import Request
from tests.chassis.faulty import QUICK, Faulty, settings_for
from tests.ports import free_port

NEVER_OPEN = Policy(failures_to_open=10**6, wait_base_seconds=0, wait_cap_seconds=0)


def call(client: Client, settings: Settings) -> bool:
    try:
        client.get("/", {}, settings)
    except Unavailable:
        return False
    return True


def test_a_failed_call_is_retried_up_to_the_policys_tries(upstream: Faulty) -> None:
    upstream.status = 503
    assert not call(Client("upstream", QUICK), settings_for(upstream))
    assert len(upstream.seen) == QUICK.tries


def test_a_refused_connection_costs_no_retry_budget(upstream: Faulty) -> None:
    settings = settings_for(f"http://127.0.0.1:{free_port()}", upstream)
    client = Client("upstream", replace(NEVER_OPEN, retry_reserve=0))
    assert all(call(client, settings) for _ in range(20))
    assert len(upstream.seen) == 20


@pytest.mark.parametrize("how", ["hangs_up", "hangs", "fails"])
def test_no_call_fails_while_another_instance_is_healthy(upstream: Faulty, other: Faulty, how: str) -> None:
    if how == "fails":
        upstream.status = 500
    else:
        setattr(upstream, how, True)
    client, settings = Client("upstream", QUICK), settings_for(upstream, other)
    assert all(call(client, settings) for _ in range(30))
    # The failing instance's breaker opened, so most calls skipped it.
    assert len(upstream.seen) < 15


def test_with_everything_failing_retries_add_less_than_a_fifth_to_the_calls(upstream: Faulty) -> None:
    upstream.status = 503
    client, settings = Client("upstream", NEVER_OPEN), settings_for(upstream)
    assert not any(call(client, settings) for _ in range(200))
    assert 200 < len(upstream.seen) < 1.2 * 200


def test_an_open_breaker_stops_the_calls_altogether(upstream: Faulty) -> None:
    upstream.status = 503
    client, settings = Client("upstream", Policy(wait_base_seconds=0, open_seconds=60)), settings_for(upstream)
    assert not any(call(client, settings) for _ in range(200))
    assert len(upstream.seen) == 5


def test_retries_do_not_outlive_the_deadline(upstream: Faulty) -> None:
    upstream.hangs = True
    policy = Policy(timeout_seconds=0.3, try_seconds=0.2, tries=10, wait_base_seconds=0)
    with pytest.raises(TooSlow):
        Client("upstream", policy).get("/", {}, settings_for(upstream))
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


def test_pauses_grow_to_the_cap_and_are_spread_from_zero() -> None:
    random.seed(1)
    for attempt, cap in enumerate([0.1, 0.2, 0.4, 0.5, 0.5]):
        drawn = [wait_before(attempt, 0.1, 0.5) for _ in range(500)]
        assert min(drawn) < 0.1 * cap
        assert 0.9 * cap < max(drawn) <= cap


@pytest.mark.parametrize(("method", "tries"), [("GET", QUICK.tries), ("POST", 1), ("PUT", 1), ("DELETE", 1)])
def test_a_write_that_may_have_worked_is_not_sent_again(upstream: Faulty, method: str, tries: int) -> None:
    upstream.hangs_up = True
    with pytest.raises(Unavailable):
        Client("upstream", QUICK).send(Request("/", {}, method, b"{}"), settings_for(upstream))
    assert len(upstream.seen) == tries


def test_a_write_that_was_not_sent_goes_to_another_instance(upstream: Faulty) -> None:
    settings = settings_for(f"http://127.0.0.1:{free_port()}", upstream)
    client = Client("upstream", NEVER_OPEN)
    upstream.status = 409
    assert {client.send(Request("/", {}, "POST", b"{}"), settings).status for _ in range(20)} == {409}
    assert [(method, body) for method, _, _, body in upstream.seen] == [("POST", b"{}")] * 20
