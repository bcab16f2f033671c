"""Circuit breakers open on failures, let one probe through after a while, and close when it succeeds."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pytest
from prometheus_client import REGISTRY

from chassis.base import deadline
from chassis.base.problems import Unavailable
from chassis.clients import Client, Policy, TooSlow
from chassis.clients.breaker import Admission, Breaker
from tests.chassis.faulty import DEADLINE_SECONDS, PATIENT, QUICK, Faulty, settings_for
from tests.ports import free_port

T = TypeVar("T")


def until(condition: Callable[[], T]) -> T:
    """The first true value of `condition`."""
    deadline, pause = time.monotonic() + DEADLINE_SECONDS, threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline
        pause.wait(0.01)
    return found


def admitted(breaker: Breaker) -> Admission:
    """Permission to call, as soon as there is one."""
    admission = until(breaker.admit)
    assert admission is not None
    return admission


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        admitted(breaker).record(False)


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker("x", "instance", "x-1", failures_to_open=3, open_seconds=60)
    fail(breaker, 2)
    admitted(breaker).record(True)
    fail(breaker, 2)
    assert breaker.is_closed
    fail(breaker, 1)
    assert not breaker.is_closed
    assert breaker.admit() is None


@pytest.mark.parametrize("succeeds", [True, False])
def test_only_one_call_at_a_time_probes_an_open_breaker(succeeds: bool) -> None:
    breaker = Breaker("x", "instance", "x-1", failures_to_open=1, open_seconds=0.05)
    fail(breaker, 1)
    probe = admitted(breaker)
    assert [breaker.admit() for _ in range(5)] == [None] * 5
    probe.record(succeeds)
    assert breaker.is_closed is succeeds


def test_a_call_from_before_it_opened_neither_closes_it_nor_replaces_the_probe() -> None:
    breaker = Breaker("x", "instance", "x-1", failures_to_open=1, open_seconds=0.05)
    early = admitted(breaker)
    fail(breaker, 1)
    probe = admitted(breaker)
    early.record(True)
    assert not breaker.is_closed
    assert breaker.admit() is None
    probe.record(True)
    assert breaker.is_closed


def test_concurrent_calls_do_not_block_each_other(upstream: Faulty) -> None:
    upstream.hangs = True
    client = Client("upstream", replace(PATIENT, concurrency=4))
    with ThreadPoolExecutor(4) as pool:
        responses = [pool.submit(client.get, "/", {}, settings) for settings in [settings_for(upstream)] * 4]
        upstream.wait_for(4)
        upstream.released.set()
        assert [each.result() for each in responses] == [{"well": True}] * 4


def test_an_upstream_that_hangs_is_not_called_until_it_recovers(upstream: Faulty) -> None:
    upstream.hangs = True
    client, settings = Client("upstream", QUICK), settings_for(upstream)
    with pytest.raises(TooSlow):
        client.get("/", {}, settings)
    with pytest.raises(Unavailable):
        client.get("/", {}, settings)
    assert open_breakers() == 1
    seen = len(upstream.seen)
    with pytest.raises(Unavailable) as refused:
        client.get("/", {}, settings)
    assert len(upstream.seen) == seen
    assert "Retry-After" in refused.value.headers
    upstream.hangs = False
    upstream.released.set()
    until(lambda: responds(client, settings))
    assert open_breakers() == 0


def test_callers_with_hardly_any_time_do_not_open_it_for_others(upstream: Faulty) -> None:
    client, settings = Client("upstream", Policy(tries=1, failures_to_open=2, open_seconds=60)), settings_for(upstream)
    upstream.dribbles = True  # A response takes 1.3 s.

    def hurried() -> None:
        with deadline.within(0.02), pytest.raises(Unavailable):
            client.get("/", {}, settings)

    with ThreadPoolExecutor(4) as pool:
        for call in [pool.submit(hurried) for _ in range(20)]:
            call.result()
    assert client.get("/", {}, settings) == {"well": True}


def test_an_upstream_that_is_down_is_noticed_by_hurried_callers_too() -> None:
    client = Client("upstream", Policy(tries=1, failures_to_open=2, open_seconds=60))
    settings = settings_for(f"http://127.0.0.1:{free_port()}")
    for _ in range(2):
        with deadline.within(1), pytest.raises(Unavailable):
            client.get("/", {}, settings)
    with pytest.raises(Unavailable, match="suspended"):
        client.get("/", {}, settings)


def test_a_call_cut_short_neither_opens_closes_nor_blocks_it() -> None:
    breaker = Breaker("x", "service", "x", failures_to_open=1, open_seconds=60)
    admitted(breaker).record(None)
    assert breaker.is_closed
    breaker = Breaker("x", "service", "x", failures_to_open=1, open_seconds=0.05)
    fail(breaker, 1)
    admitted(breaker).record(None)
    assert not breaker.is_closed
    assert breaker.admit(has_full_time=False) is None
    probe = breaker.admit()
    assert probe is not None
    probe.record(True)
    assert breaker.is_closed


def responds(client: Client, settings: object) -> bool:
    try:
        return bool(client.get("/", {}, settings))  # type: ignore[arg-type]
    except Unavailable:
        return False


def open_breakers() -> float:
    labels = {"upstream": "upstream", "scope": "instance"}
    return REGISTRY.get_sample_value("souk_client_breakers_open", labels) or 0.0


def test_a_service_whose_instances_all_fail_is_not_called_at_all(upstream: Faulty, other: Faulty) -> None:
    upstream.status = other.status = 500
    policy = Policy(tries=1, failures_to_open=4, open_seconds=60)
    client, settings = Client("upstream", policy), settings_for(upstream, other)
    for _ in range(4):
        with pytest.raises(Unavailable):
            client.get("/", {}, settings)
    with pytest.raises(Unavailable, match="suspended"):
        client.get("/", {}, settings)
    assert len(upstream.seen) + len(other.seen) == 4
