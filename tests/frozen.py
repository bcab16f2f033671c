"""A server that hangs: its connections stay open, and nothing is answered."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from launcher.stack import Stack


@contextmanager
def frozen(stack: Stack, program: str) -> Iterator[None]:
    """Stops all processes of the program during the block."""
    first = psutil.Process(stack.supervisor.statuses()[program].pid)
    # The first one last: it could start others.
    pids = [process.pid for process in [*first.children(recursive=True), first]]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
