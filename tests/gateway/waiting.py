"""Waiting for a condition, with a deadline."""

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], bool], explain: Callable[[], str], seconds: float = 20.0) -> None:
    """Returns once the condition holds; fails with the explanation when it does not in time."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, explain()
        pause.wait(0.05)
