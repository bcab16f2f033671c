"""A service's web process on granian: one process, in which the server is a thread."""

import os
from pathlib import Path
from typing import Any

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import MTServer

from chassis.settings import Settings

MOST_CONNECTIONS = 1024
"""What comes beyond is left in the socket's backlog."""


class Server(MTServer):
    """Granian's threaded server, on any Python.

    Granian means it for Python without the GIL, where several such threads run at once, and refuses others. One thread is one
    worker all the same. Its usual server keeps a parent beside each worker, which costs 30 MB a service and, when it is
    killed, leaves the worker behind with the port in its hand.
    """

    def _check_gil(self) -> None:
        pass


def run(application: Any, settings: Settings) -> None:
    """Serve the WSGI application until SIGTERM; requests in hand are finished. Whatever the environment tells was read before."""
    _hide_environment()
    server = Server(
        str(Path(__file__)),  # named for granian's logs only: the loader below brings the application
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads,
        # Granian counts connections, idle ones too: a neighbour's kept connections must not leave a health check waiting.
        backpressure=MOST_CONNECTIONS,
        backlog=1024,
        log_level=LogLevels.error,
    )
    server.serve(target_loader=lambda *_: application)


def _hide_environment() -> None:
    """Granian copies the process's variables into every request's WSGI environment.

    Our secrets have no business there, and HTTP_PROXY would pass for a header named Proxy.
    """
    for name in list(os.environ):
        if name.startswith(("HTTP_", "SOUK_")) or name in ("REQUEST_URI", "CONTENT_LENGTH", "CONTENT_TYPE"):
            del os.environ[name]
