"""Waiting for a condition, with a deadline."""

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], bool], explain: Callable[[], str], seconds: float = 20.0) -> None:
    """Wait until the condition holds; fail with the explanation after the deadline."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, explain()
        pause.wait(0.05)
