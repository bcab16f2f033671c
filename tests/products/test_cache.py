"""What is read is cached for a moment, read by one for all, and never older than promised."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from redis import Redis

from chassis.base.problems import NotFound, Unavailable
from services.products.cache import Cache
from tests.conftest import server_url
from tests.ports import free_port
from tests.redis import FAILURES, breakable

DEADLINE_SECONDS = 20


class Down(Exception):
    """The source does not respond."""


class Source:
    """Counts its reads, and returns what it is set to."""

    def __init__(self) -> None:
        self.reads = 0
        self.returns: Callable[[], bytes] = lambda: str(self.reads).encode()

    def __call__(self) -> bytes:
        self.reads += 1
        return self.returns()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache() -> Cache:
    return Cache(server_url("REDIS"), uuid4().hex, (Down,), max_age_seconds=60)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_is_fresh_is_not_read_again(cache, source):
    assert [cache.get("a", 60, source).body for _ in range(3)] == [b"1"] * 3
    assert cache.get("b", 60, source).body == b"2"


def test_nothing_is_older_than_promised(cache, source):
    made = cache.get("a", 0.2, source)
    until(lambda: cache.get("a", 60, source).age_seconds > 0.2)
    again = cache.get("a", 0.2, source)
    assert (made.body, again.body, again.age_seconds) == (b"1", b"2", 0.0)


def test_concurrent_readers_of_one_key_read_once(cache, source):
    released = threading.Event()
    source.returns = lambda: released.wait(DEADLINE_SECONDS) and b"made"  # type: ignore[return-value]
    others = Cache(cache._url, cache._name, (Down,), max_age_seconds=60)
    with ThreadPoolExecutor(20) as pool:
        reading = [pool.submit(each.get, "a", 60, source) for each in [cache, others] * 10]
        until(lambda: source.reads == 1)
        released.set()
        assert {each.result().body for each in reading} == {b"made"}
    assert source.reads == 1


def test_one_reader_renews_early_what_the_others_still_get(cache, source):
    cache.get("a", 60, source)
    # Past half of a second's freshness.
    until(lambda: cache.get("a", 60, source).age_seconds > 0.55)
    released = threading.Event()
    source.returns = lambda: released.wait(DEADLINE_SECONDS) and b"new"  # type: ignore[return-value]
    with ThreadPoolExecutor(1) as pool:
        renewing = pool.submit(cache.get, "a", 1.0, source)
        until(lambda: source.reads == 2)
        assert cache.get("a", 60, source).body == b"1"
        released.set()
        assert renewing.result().body == b"new"
    assert cache.get("a", 60, source).body == b"new"


def test_a_change_invalidates_even_what_is_being_read(cache, source):
    cache.get("a", 60, source)
    cache.invalidate("a")
    reading, released = threading.Event(), threading.Event()

    def read_slowly() -> bytes:
        reading.set()
        released.wait(DEADLINE_SECONDS)
        return b"before the change"

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, "a", 60, read_slowly)
        assert reading.wait(DEADLINE_SECONDS)
        cache.invalidate("a")
        released.set()
        assert slow.result().body == b"before the change"
    assert cache.get("a", 60, source).body == b"2"


def test_a_reader_that_dies_locks_the_others_out_for_seconds_only(cache):
    client = Redis.from_url(server_url("REDIS"))
    left = []

    def read():
        left.extend(client.pttl(key) for key in client.scan_iter(f"cache:{cache._name}:*lock"))
        return b""

    cache.get("a", 60, read)
    assert len(left) == 1
    assert 0 < left[0] <= 5_000


def test_each_generation_is_another(cache):
    seen = [cache.generation("lists")]
    for _ in range(3):
        cache.start_generation("lists")
        assert cache.generation("lists") == cache.generation("lists")
        seen.append(cache.generation("lists"))
    assert len(set(seen)) == 4


def down() -> bytes:
    raise Down


def test_without_its_source_cached_values_are_returned_and_the_rest_refused_at_once(cache, source):
    cache.get("a", 60, source)
    until(lambda: cache.get("a", 60, source).age_seconds > 0.01)
    assert cache.get("a", 0.001, down).body == b"1"
    # The source is left alone for a moment, and nobody waits.
    assert cache.get("a", 0.001, source).body == b"1"
    with pytest.raises(Unavailable):
        cache.get("b", 60, source)
    assert source.reads == 1
    until(lambda: cache.get("a", 0.001, source).body == b"2")


def test_what_is_too_old_is_not_returned(source):
    cache = Cache(server_url("REDIS"), uuid4().hex, (Down,), max_age_seconds=0.05)
    cache.get("a", 60, source)
    until(lambda: cache._find("a") is None)
    with pytest.raises(Down):
        cache.get("a", 60, down)


def test_an_error_is_not_cached_and_delays_nobody(cache, source):
    def absent() -> bytes:
        raise NotFound

    with pytest.raises(NotFound):
        cache.get("a", 60, absent)
    started = time.monotonic()
    assert cache.get("a", 60, source).body == b"1"
    assert time.monotonic() - started < 0.9


@pytest.mark.parametrize("port", [None, 0], ids=["none", "unavailable"])
def test_without_redis_everything_is_read_from_the_source(source, port):
    url = "" if port is None else f"redis://127.0.0.1:{free_port()}/0"
    cache = Cache(url, "x", (Down,), max_age_seconds=60)
    assert [cache.get("a", 60, source).body for _ in range(3)] == [b"1", b"2", b"3"]
    cache.invalidate("a")
    cache.start_generation("lists")
    assert cache.generation("lists") == ""


@pytest.mark.parametrize("failure", FAILURES)
def test_while_redis_fails_nothing_is_older_than_promised(source, tmp_path, failure):
    with breakable(tmp_path) as server:
        cache = Cache(server.url, "x", (Down,), max_age_seconds=60)
        assert cache.get("a", 0.2, source).body == b"1"
        server.fail(failure)
        cache.invalidate("a")
        until(lambda: cache.get("a", 0.2, source).body != b"1")
        started = time.monotonic()
        cache.get("b", 0.2, source)
        assert time.monotonic() - started < 5
