"""A service's web process on granian."""

import ctypes
import gc
import signal
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from chassis.settings import Settings

PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal a process gets when its parent dies."""


def die_with_parent() -> None:
    """Granian's worker would outlive a killed parent and keep the port from its successor."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(application: Any, settings: Settings) -> None:
    """Serve the WSGI application until SIGTERM. It must have opened no connection yet: the server's worker is forked."""
    server = Granian(
        str(Path(__file__)),  # named for granian's logs only: the loader below brings the application
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads,
        backlog=1024,
        # Waiting requests beyond this are left in the socket's backlog rather than in memory.
        backpressure=max(settings.threads * 8, 64),
        respawn_failed_workers=True,
        log_level=LogLevels.error,
        workers_kill_timeout=15,
    )

    def load(*_: Any, **__: Any) -> Any:
        die_with_parent()
        return application

    # What is imported and made before the fork, and frozen, is shared with the worker: some 25 MB a service.
    gc.collect()
    gc.freeze()
    server.serve(target_loader=load)
