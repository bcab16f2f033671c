"""One slow reading holds up one page."""

import threading
from collections.abc import Iterator

import pytest

from services.console.cache import cached
from services.console.settings import ConsoleSettings
from tests.console.conftest import KEY

DEADLINE_SECONDS = 60


@pytest.fixture(autouse=True)
def settings() -> ConsoleSettings:
    return ConsoleSettings.use(session_keys=[KEY])


def test_while_one_reads_anew_others_get_what_was_read_before() -> None:
    is_reading, may_end = threading.Event(), threading.Event()
    may_end.set()
    results: Iterator[int] = iter(range(9))

    @cached(0)
    def count() -> int:
        is_reading.set()
        assert may_end.wait(DEADLINE_SECONDS)
        return next(results)

    assert count() == 0
    is_reading.clear()
    may_end.clear()
    reader = threading.Thread(target=count)
    reader.start()
    assert is_reading.wait(DEADLINE_SECONDS)
    others = [threading.Thread(target=lambda: found.append(count())) for _ in range(3)]
    found: list[int] = []
    for each in others:
        each.start()
    for each in others:
        each.join(DEADLINE_SECONDS)
    assert found == [0, 0, 0]
    may_end.set()
    reader.join(DEADLINE_SECONDS)
    assert count() == 2


def test_what_was_read_is_kept_for_a_while() -> None:
    results = iter(range(9))
    count = cached(3_600)(lambda: next(results))
    assert [count(), count()] == [0, 0]
    ConsoleSettings.use(session_keys=[KEY])
    assert count() == 1
