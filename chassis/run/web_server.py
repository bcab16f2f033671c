"""A service's web process on granian: one process, in which the server is a thread."""

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
"""What comes beyond is left in the socket's backlog."""

POLL_SECONDS = 0.01


class Server(MTServer):
    """Granian's threaded server, on any Python.

    Granian means it for Python without the GIL, where several such threads run at once, and refuses others. One thread is one
    worker all the same. Its usual server keeps a parent beside each worker, which costs 30 MB a service and, when it is
    killed, leaves the worker behind with the port in its hand.
    """

    def _check_gil(self) -> None:
        pass


def run(application: Any, settings: Settings) -> NoReturn:
    """Serve the WSGI application until SIGTERM; requests in hand are finished. Whatever the environment tells was read before."""
    _hide_environment()
    in_hand = InFlight()

    def counted(environ: Any, start_response: Any) -> Any:
        with in_hand.one():
            return application(environ, start_response)

    server = Server(
        str(Path(__file__)),  # named for granian's logs only: the loader below brings the application
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads,
        # Granian counts connections, idle ones too: a upstream's kept connections must not leave a health check waiting.
        backpressure=MAX_CONNECTIONS,
        backlog=1024,
        log_level=LogLevels.error,
    )
    server.serve(target_loader=lambda *_: counted)
    _leave(in_hand, settings.request_timeout_seconds)


def _leave(in_hand: InFlight, patience_seconds: float) -> NoReturn:
    """End the process once nothing is in hand any more.

    Granian has waited for the requests whose clients wait; not for those whose clients have gone. An interpreter that ends
    takes each thread that asks for its lock then off the stack, and the process aborts, since granian's threads are Rust's
    below. So the interpreter is not brought to its end: the process is.
    """
    deadline = time.monotonic() + patience_seconds
    while in_hand.count and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    os._exit(0)


def _hide_environment() -> None:
    """Granian copies the process's variables into every request's WSGI environment.

    Our secrets have no business there, and HTTP_PROXY would pass for a header named Proxy.
    """
    for name in list(os.environ):
        if name.startswith(("HTTP_", "SOUK_")) or name in ("REQUEST_URI", "CONTENT_LENGTH", "CONTENT_TYPE"):
            del os.environ[name]
