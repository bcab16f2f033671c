"""Ports for servers of tests: below those of the launcher and of outgoing connections, a part for each process of tests."""

import fcntl
import itertools
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO

from launcher import ports

RANGE = range(10_000, 20_000)
SIZE = 100


def free_port() -> int:
    """A local port that nothing listens on, and that is not given again soon."""
    return next(port for port in itertools.islice(_ports(os.getpid()), SIZE) if ports.is_free(port))


# --- inside

_lock: list[IO[str]] = []
"""Kept while the process lives."""


@cache
def _ports(process: int) -> Iterator[int]:
    for first in RANGE[::SIZE]:
        try:
            file = (Path(tempfile.gettempdir()) / f"souk-ports-{first}.lock").open("w")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            # Another process's, or another user's.
            continue
        _lock.append(file)
        return itertools.cycle(range(first, first + SIZE))
    raise RuntimeError("Too many processes run tests on this machine.")
