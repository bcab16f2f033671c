"""What many pages show is read once in some seconds."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from services.console.settings import ConsoleSettings

T = TypeVar("T")


def cached(seconds: float) -> Callable[[Callable[[], T]], Callable[[], T]]:
    def decorate(read: Callable[[], T]) -> Callable[[], T]:
        lock = threading.Lock()
        held: list[tuple[ConsoleSettings, float, T]] = []

        def get() -> T:
            settings = ConsoleSettings.current()
            with lock:
                # Only tests have several settings.
                if not held or held[0][0] is not settings or time.monotonic() >= held[0][1]:
                    found = read()
                    held[:] = [(settings, time.monotonic() + seconds, found)]
                return held[0][2]

        return get

    return decorate
