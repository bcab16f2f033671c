"""Answers are kept for a moment, made by one reader for all, and never older than was promised."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from chassis.base.problems import NotFound, Unavailable
from services.products.cache import Cache
from tests.conftest import free_port, server_url

DEADLINE_SECONDS = 20


class Away(Exception):
    """The source does not answer."""


class Source:
    """Counts how often it was asked, and says what it was told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.says: Callable[[], bytes] = lambda: str(self.asked).encode()

    def __call__(self) -> bytes:
        self.asked += 1
        return self.says()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache() -> Cache:
    return Cache(server_url("REDIS"), uuid4().hex, (Away,), kept_seconds=60)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_fresh_is_not_asked_again(cache, source):
    assert [cache.get("a", 60, source).body for _ in range(3)] == [b"1"] * 3
    assert cache.get("b", 60, source).body == b"2"


def test_nothing_is_older_than_was_promised(cache, source):
    made = cache.get("a", 0.2, source)
    until(lambda: cache.get("a", 60, source).age_seconds > 0.2)
    again = cache.get("a", 0.2, source)
    assert (made.body, again.body, again.age_seconds) == (b"1", b"2", 0.0)


def test_many_readers_of_one_thing_ask_once(cache, source):
    let_go = threading.Event()
    source.says = lambda: let_go.wait(DEADLINE_SECONDS) and b"made"  # type: ignore[return-value]
    others = Cache(cache._url, cache._name, (Away,), kept_seconds=60)
    with ThreadPoolExecutor(20) as pool:
        reading = [pool.submit(each.get, "a", 60, source) for each in [cache, others] * 10]
        until(lambda: source.asked == 1)
        let_go.set()
        assert {each.result().body for each in reading} == {b"made"}
    assert source.asked == 1


def test_one_reader_renews_early_what_the_others_still_get(cache, source):
    cache.get("a", 60, source)
    # Past half of a second's freshness.
    until(lambda: cache.get("a", 60, source).age_seconds > 0.55)
    let_go = threading.Event()
    source.says = lambda: let_go.wait(DEADLINE_SECONDS) and b"new"  # type: ignore[return-value]
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(cache.get, "a", 1.0, source)
        until(lambda: source.asked == 2)
        assert cache.get("a", 60, source).body == b"1"
        let_go.set()
        assert renewing.result().body == b"new"
    assert cache.get("a", 60, source).body == b"new"


def test_what_was_changed_is_forgotten_even_while_it_is_being_read(cache, source):
    cache.get("a", 60, source)
    cache.forget("a")
    reading, let_go = threading.Event(), threading.Event()

    def read_slowly() -> bytes:
        reading.set()
        let_go.wait(DEADLINE_SECONDS)
        return b"before the change"

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, "a", 60, read_slowly)
        assert reading.wait(DEADLINE_SECONDS)
        cache.forget("a")
        let_go.set()
        assert slow.result().body == b"before the change"
    assert cache.get("a", 60, source).body == b"2"


def test_a_generation_is_another_after_each_turn(cache):
    seen = [cache.generation("lists")]
    for _ in range(3):
        cache.turn("lists")
        assert cache.generation("lists") == cache.generation("lists")
        seen.append(cache.generation("lists"))
    assert len(set(seen)) == 4


def away() -> bytes:
    raise Away


def test_without_its_source_what_is_kept_is_given_and_the_rest_refused_at_once(cache, source):
    cache.get("a", 60, source)
    until(lambda: cache.get("a", 60, source).age_seconds > 0.01)
    assert cache.get("a", 0.001, away).body == b"1"
    # It rests: neither is the source asked, nor anybody kept waiting.
    assert cache.get("a", 0.001, source).body == b"1"
    with pytest.raises(Unavailable):
        cache.get("b", 60, source)
    assert source.asked == 1
    until(lambda: cache.get("a", 0.001, source).body == b"2")


def test_what_was_kept_too_long_is_not_given(source):
    cache = Cache(server_url("REDIS"), uuid4().hex, (Away,), kept_seconds=0.05)
    cache.get("a", 60, source)
    until(lambda: cache._read("a") is None)
    with pytest.raises(Away):
        cache.get("a", 60, away)


def test_an_error_is_not_kept_and_holds_nobody_up(cache, source):
    def absent() -> bytes:
        raise NotFound

    with pytest.raises(NotFound):
        cache.get("a", 60, absent)
    started = time.monotonic()
    assert cache.get("a", 60, source).body == b"1"
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize("port", [None, 0], ids=["none", "away"])
def test_without_redis_everything_is_asked_of_the_source(source, port):
    url = "" if port is None else f"redis://127.0.0.1:{free_port()}/0"
    cache = Cache(url, "x", (Away,), kept_seconds=60)
    assert [cache.get("a", 60, source).body for _ in range(3)] == [b"1", b"2", b"3"]
    cache.forget("a")
    cache.turn("lists")
    assert cache.generation("lists") == ""
