"""Calls are bounded in number and spread over the instances."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chassis.base.problems import Unavailable
from chassis.clients import Client, Policy
from chassis.clients.peers import Peers, Request, Turn
from chassis.discovery import Instance
from tests.chassis.faulty import PATIENT, Faulty, settings_for


def test_one_upstream_cannot_take_all_our_threads(upstream: Faulty) -> None:
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


def test_a_call_queues_for_a_slot(upstream: Faulty) -> None:
    upstream.hangs = True
    client, settings = Client("upstream", replace(PATIENT, concurrency=1, slot_seconds=60)), settings_for(upstream)
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(client.get, "/", {}, settings) for _ in range(2)]
        upstream.wait_for(1)
        upstream.released.set()
        assert [each.result() for each in calls] == [{"well": True}] * 2


def test_a_burst_queues_as_long_as_responses_come_back(upstream: Faulty) -> None:
    upstream.respond_with("x" * 7)
    upstream.dribbles = True  # A response takes 0.9 s; two together take longer than `slot_seconds`.
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
    # Of two equally idle ones the first drawn wins: three quarters, within five standard deviations.
    assert 1_400 < chosen.count(3) < 1_600


def test_the_less_busy_instance_is_preferred(upstream: Faulty, other: Faulty) -> None:
    upstream.hangs = True
    busy, idle = Instance("busy", upstream.url), Instance("idle", other.url)
    peers = Peers("x", Policy(), connections=1)
    peers.follow([busy])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(turn(peers).send, Request("/", {}), 20)
        upstream.wait_for(1)
        peers.follow([busy, idle])
        chosen = [turn(peers).peer.instance for _ in range(2_000)]
        upstream.released.set()
    # Both draws hit the busy one a quarter of the time; within five standard deviations.
    assert 400 < chosen.count(busy) < 600


def test_a_removed_instance_is_not_called_and_the_others_keep_their_breakers() -> None:
    peers, instances = peers_of(1, 1)
    kept = {id(peer) for peer in peers._peers.values()}
    peers.follow(instances[:1])
    assert {turn(peers).peer.instance for _ in range(20)} == set(instances[:1])
    assert id(turn(peers).peer) in kept
