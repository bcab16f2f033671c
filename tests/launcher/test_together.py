import threading

import pytest

from launcher.errors import Cancelled
from launcher.together import Together


def test_a_part_starts_after_its_prerequisites():
    order: list[str] = []
    together = Together(threading.Event())
    first = together.start(order.append, "first")
    second = together.start(order.append, "second", after=[first])
    together.start(order.append, "third", after=[second])
    together.finish()
    assert order == ["first", "second", "third"]


def test_a_failure_cancels_the_others_and_is_raised():
    cancelled = threading.Event()
    together = Together(cancelled)

    def wait() -> None:
        assert cancelled.wait(10)
        raise Cancelled

    def fail() -> None:
        raise ConnectionError("no")

    reached: list[str] = []
    together.start(wait)
    failing = together.start(fail)
    together.start(reached.append, "after", after=[failing])
    with pytest.raises(ConnectionError, match="no"):
        together.finish()
    assert reached == []
