import threading

import pytest

from launcher.errors import LaunchError
from launcher.together import Together


def test_a_part_starts_after_its_prerequisites():
    order: list[str] = []
    together = Together(threading.Event())
    first = together.start(order.append, "first")
    second = together.start(order.append, "second", after=[first])
    together.start(order.append, "third", after=[second])
    together.finish()
    assert order == ["first", "second", "third"]


def fail(reason: str) -> None:
    raise LaunchError(reason)


def test_a_failure_stops_only_what_needs_the_failed_part():
    together = Together(threading.Event())
    reached: list[str] = []
    failing = together.start(fail, "no disk")
    together.start(reached.append, "needs it", after=[failing])
    together.start(reached.append, "waits for it", settled=[failing])
    together.start(reached.append, "independent")
    with pytest.raises(LaunchError, match=r"^no disk$") as failure:
        together.finish()
    assert sorted(reached) == ["independent", "waits for it"]
    assert failure.value.last_lines == ()


def test_every_failure_is_named():
    together = Together(threading.Event())
    together.start(fail, "no disk")
    together.start(fail, "no port")
    with pytest.raises(LaunchError, match="no disk") as failure:
        together.finish()
    assert failure.value.last_lines == ("no port",)
