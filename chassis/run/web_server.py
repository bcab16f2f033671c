"""A service's web process: granian as a thread of one process."""

import os
import time
from pathlib import Path
from typing import Any, NoReturn

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import MTServer

from chassis.base.health import InFlight
from chassis.base.settings import Settings

MAX_CONNECTIONS = 1024
"""More are left in the socket's backlog."""

POLL_SECONDS = 0.01


class Server(MTServer):
    """Granian's threaded server, on any Python.

    Granian intends it for Python without the GIL. Its usual server keeps a parent beside each worker: 30 MB per service, and
    a killed parent leaves its worker behind, still holding the port.
    """

    def _check_gil(self) -> None:
        pass


def run(application: Any, settings: Settings) -> NoReturn:
    """Serve until SIGTERM, then finish the requests in flight. Clears the environment, see `_hide_environment`."""
    _hide_environment()
    in_flight = InFlight()

    def counted(environ: Any, start_response: Any) -> Any:
        with in_flight.one():
            return application(environ, start_response)

    server = Server(
        str(Path(__file__)),  # only for granian's logs: the loader below returns the application
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads,
        # Counts idle connections too: pooled ones must not keep a health check waiting.
        backpressure=MAX_CONNECTIONS,
        backlog=1024,
        log_level=LogLevels.error,
    )
    server.serve(target_loader=lambda *_: counted)
    _leave(in_flight, settings.request_timeout_seconds)


def _leave(in_flight: InFlight, timeout_seconds: float) -> NoReturn:
    """End the process once no request is in flight.

    Granian waits for requests only as long as their clients do. The interpreter is not ended: that would unwind granian's Rust
    threads and abort.
    """
    deadline = time.monotonic() + timeout_seconds
    while in_flight.count and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    os._exit(0)


def _hide_environment() -> None:
    """Remove what granian would copy into every WSGI environment: secrets, and names that look like headers."""
    for name in list(os.environ):
        if name.startswith(("HTTP_", "SOUK_")) or name in ("REQUEST_URI", "CONTENT_LENGTH", "CONTENT_TYPE"):
            del os.environ[name]
