"""What many pages show is read once in some seconds."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from services.console.settings import ConsoleSettings

T = TypeVar("T")


def cached(seconds: float) -> Callable[[Callable[[], T]], Callable[[], T]]:
    """While one thread reads anew, others get what was read before, if anything."""

    def decorate(read: Callable[[], T]) -> Callable[[], T]:
        reading = threading.Lock()
        held: tuple[ConsoleSettings, float, T] | None = None

        def get() -> T:
            nonlocal held
            settings, before = ConsoleSettings.current(), held
            # Only tests have several settings.
            if before is not None and before[0] is settings:
                if time.monotonic() < before[1] or not reading.acquire(blocking=False):
                    return before[2]
            else:
                reading.acquire()
            try:
                if held is None or held is before:
                    found = read()
                    held = settings, time.monotonic() + seconds, found
                return held[2]
            finally:
                reading.release()

        return get

    return decorate
