"""The last instances survive an outage of the source, and an empty catalogue is not believed too soon."""

import threading
import time
from collections.abc import Sequence

from chassis.discovery import Instance
from chassis.discovery.watch import EMPTY_GRACE_SECONDS, EMPTY_POLL_SECONDS, MIN_POLL_SECONDS, RETRY_SECONDS, Watch
from tests.installation import until

ONE, TWO = Instance("1", "http://127.0.0.1:1"), Instance("2", "http://127.0.0.1:2")


class Source:
    """Returns or raises `result`, at the time `now`."""

    def __init__(self) -> None:
        self.result: Sequence[Instance] | Exception = [ONE]
        self.waits: list[float] = []
        self.now = 0.0
        self.watch = Watch("x", self.fetch, 30, lambda: self.now)

    def fetch(self, wait_seconds: float) -> Sequence[Instance]:
        self.waits.append(wait_seconds)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def poll(self, result: Sequence[Instance] | Exception) -> tuple[Instance, ...]:
        self.result = result
        self.watch.poll()
        return self.watch.instances


def test_the_last_instances_are_kept_while_the_source_is_unavailable() -> None:
    source = Source()
    assert source.poll([TWO, ONE]) == (ONE, TWO)
    assert source.poll(ConnectionError()) == (ONE, TWO)
    source.now = 10_000
    assert source.poll(ValueError("nonsense")) == (ONE, TWO)
    assert source.poll([TWO]) == (TWO,)


def test_an_unavailable_source_is_queried_with_pauses() -> None:
    source = Source()
    source.result = ConnectionError()
    assert RETRY_SECONDS[0] <= source.watch.poll() <= RETRY_SECONDS[1]
    source.result = [ONE]
    assert source.watch.poll() == 0


def test_an_empty_catalogue_is_accepted_once_it_stays_empty() -> None:
    source = Source()
    source.poll([ONE])
    assert source.poll([]) == (ONE,)
    source.now = EMPTY_GRACE_SECONDS - 1
    assert source.poll([]) == (ONE,)
    assert source.waits[-1] == EMPTY_POLL_SECONDS
    source.now = EMPTY_GRACE_SECONDS + 1
    assert source.poll([]) == ()
    assert source.watch.poll() == 0
    assert source.waits[-1] == 30


def test_the_grace_period_restarts_each_time_it_becomes_empty() -> None:
    source = Source()
    source.poll([ONE])
    source.poll([])
    source.now = EMPTY_GRACE_SECONDS - 1
    source.poll([TWO])
    assert source.poll([]) == (TWO,)
    source.now += EMPTY_GRACE_SECONDS - 1
    assert source.poll([]) == (TWO,)


def test_an_unchanged_result_is_the_same_object() -> None:
    source = Source()
    assert source.poll([ONE, TWO]) is source.poll([Instance("2", TWO.url), ONE])


def test_a_source_that_does_not_wait_is_queried_with_pauses() -> None:
    queried: list[float] = []

    def fetch(_wait_seconds: float) -> Sequence[Instance]:
        queried.append(time.monotonic())
        return [ONE]

    watch = Watch("x", fetch, wait_seconds=60)
    watch.start()
    until(lambda: len(queried) >= 5)
    # What the first one found was a change. The pause is from before a query.
    assert queried[4] - queried[0] >= 2 * MIN_POLL_SECONDS


def test_a_watch_ends_when_it_is_dropped() -> None:
    watch = Watch("dropped", lambda _wait_seconds: [ONE], wait_seconds=60)
    watch.start()
    [thread] = [each for each in threading.enumerate() if each.name == "discovery-dropped"]
    del watch
    thread.join(30)
    assert not thread.is_alive()
