"""Calls are bounded in number, spread over the instances, and a slow read may be hedged."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chassis.base.problems import Unavailable
from chassis.clients import Client, Policy
from chassis.clients.peers import Peers, Request, Turn
from chassis.discovery import Instance
from tests.chassis.faulty import PATIENT, Faulty, settings_for


def test_one_upstream_cannot_have_all_our_threads(upstream: Faulty) -> None:
    upstream.hangs = True
    client, settings = Client("upstream", replace(PATIENT, slot_seconds=0.01)), settings_for(upstream, threads=4)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.get, "/", {}, settings) for _ in range(2)]
        upstream.wait_for(2)
        with pytest.raises(Unavailable, match="Too many calls"):
            client.get("/", {}, settings)
        assert len(upstream.seen) == 2
        upstream.released.set()
        assert [each.result() for each in calls] == [{"well": True}] * 2
    assert client.get("/", {}, settings) == {"well": True}


def test_a_call_waits_a_moment_for_its_turn(upstream: Faulty) -> None:
    upstream.hangs = True
    client, settings = Client("upstream", replace(PATIENT, concurrency=1, slot_seconds=60)), settings_for(upstream)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.get, "/", {}, settings) for _ in range(2)]
        upstream.wait_for(1)
        upstream.released.set()
        assert [each.result() for each in calls] == [{"well": True}] * 2


def test_a_burst_waits_as_long_as_calls_come_back(upstream: Faulty) -> None:
    upstream.says("x" * 7)
    upstream.dribbles = True  # An answer takes 0.9 s: two of them are longer than one that never comes is waited for.
    client, settings = Client("upstream", replace(PATIENT, concurrency=1, slot_seconds=1.7)), settings_for(upstream)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(client.get, "/", {}, settings) for _ in range(3)]
        assert [each.result() for each in calls] == ["x" * 7] * 3


def peers_of(*weights: int) -> tuple[Peers, list[Instance]]:
    instances = [Instance(str(n), f"http://127.0.0.1:{n + 1}", weight) for n, weight in enumerate(weights)]
    peers = Peers("x", Policy(), connections=1)
    peers.follow(instances)
    return peers, instances


def turn(peers: Peers) -> Turn:
    chosen = peers.choose()
    assert chosen is not None
    return chosen


def test_traffic_follows_the_weights() -> None:
    peers, _ = peers_of(3, 1)
    chosen = [turn(peers).peer.instance.weight for _ in range(2_000)]
    # Equally idle, the first of two draws wins: three quarters, within five standard deviations.
    assert 1_400 < chosen.count(3) < 1_600


def test_the_less_busy_one_is_preferred(upstream: Faulty, other: Faulty) -> None:
    upstream.hangs = True
    busy, idle = Instance("busy", upstream.url), Instance("idle", other.url)
    peers = Peers("x", Policy(), connections=1)
    peers.follow([busy])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(turn(peers).send, Request("GET", "/", {}, None, True), 20)
        upstream.wait_for(1)
        peers.follow([busy, idle])
        chosen = [turn(peers).peer.instance for _ in range(2_000)]
        upstream.released.set()
    # Only when both draws fall on the busy one, a quarter of the time; within five standard deviations.
    assert 400 < chosen.count(busy) < 600


def test_an_instance_that_leaves_is_not_called_and_one_that_stays_keeps_its_breaker() -> None:
    peers, instances = peers_of(1, 1)
    kept = {id(peer) for peer in peers._peers.values()}
    peers.follow(instances[:1])
    assert {turn(peers).peer.instance for _ in range(20)} == set(instances[:1])
    assert id(turn(peers).peer) in kept


def test_a_slow_read_is_also_sent_elsewhere_and_the_first_answer_counts(upstream: Faulty, other: Faulty) -> None:
    upstream.hangs = True
    hedging = replace(PATIENT, hedge_after_seconds=0.05)
    client, settings = Client("upstream", hedging), settings_for(upstream, other)
    assert [client.get("/", {}, settings) for _ in range(6)] == [{"well": True}] * 6
    assert len(other.seen) == 6
    assert len(upstream.seen) <= 6
    upstream.released.set()


def test_what_is_no_read_is_not_hedged(upstream: Faulty, other: Faulty) -> None:
    hedging = replace(PATIENT, hedge_after_seconds=0.01)
    client, settings = Client("upstream", hedging), settings_for(upstream, other)
    upstream.hangs = other.hangs = True
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.send, "PUT", "/", settings, {})
        while not upstream.seen + other.seen:
            threading.Event().wait(0.01)
        threading.Event().wait(0.1)
        upstream.released.set()
        other.released.set()
        call.result()
    assert len(upstream.seen + other.seen) == 1


def test_hedges_that_all_fail_are_one_failure(upstream: Faulty, other: Faulty) -> None:
    upstream.status = other.status = 500
    client = Client("upstream", Policy(tries=1, hedge_after_seconds=0.001))
    with pytest.raises(Unavailable):
        client.get("/", {}, settings_for(upstream, other))


def test_a_lone_instance_is_not_hedged(upstream: Faulty) -> None:
    hedging = replace(PATIENT, hedge_after_seconds=0.001, tries=1)
    assert Client("upstream", hedging).get("/", {}, settings_for(upstream)) == {"well": True}
    assert len(upstream.seen) == 1
