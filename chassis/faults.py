"""Crash points: named places before and after every durable write and every send, where a test may have the process die.

    faults.point("relay.published")

Off unless `SOUK_CRASH_AT` names a point of this process; then the process ends there by SIGKILL, as by a power cut.
"""

import os
import signal
import threading
from pathlib import Path

VARIABLE = "SOUK_CRASH_AT"
"""`<point>` or `<point>:<n>` (the n-th passing, from 1), then optionally `@<file>`: armed while that file exists,
which the crash removes, so that the process dies once and lives after its restart."""

_lock = threading.Lock()
_passed = 0


def point(name: str) -> None:
    """Die here, if this process is to die here."""
    wanted = os.environ.get(VARIABLE)
    if wanted is not None:
        _perhaps_die(name, wanted)


def _perhaps_die(name: str, wanted: str) -> None:
    global _passed
    where, _, flag = wanted.partition("@")
    at, _, nth = where.partition(":")
    if at != name or (flag and not Path(flag).exists()):
        return
    with _lock:
        _passed += 1
        if _passed < int(nth or 1):
            return
        if flag:
            Path(flag).unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)
