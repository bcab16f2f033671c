"""A service's web process."""

import json
import os
import time
from pathlib import Path
from typing import Any, NoReturn

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import MTServer

from chassis.base import tracing
from chassis.base.health import InFlight
from chassis.base.problems import Problem, RequestTimeout, Unavailable
from chassis.base.settings import Settings
from chassis.run.bodies import READERS, BodyReaders, IncompleteBody, TooManySlowBodies

MAX_CONNECTIONS = 1024
"""The rest wait in the socket's backlog."""

POLL_SECONDS = 0.01


class Server(MTServer):
    """Allows the GIL. Granian's usual server keeps a 30 MB parent; killed, it leaves its worker holding the port."""

    def _check_gil(self) -> None:
        pass


def run(application: Any, settings: Settings) -> NoReturn:
    """On SIGTERM, finishes requests in flight. Clears the environment."""
    _hide_environment()
    in_flight = InFlight()
    bodies = BodyReaders(settings.port, max_seconds=2 * settings.request_timeout_seconds)

    def counted(environ: Any, start_response: Any) -> Any:
        with in_flight:
            try:
                bodies.read(environ)
            except TooManySlowBodies:
                return _refuse(environ, start_response, Unavailable("Too many requests send their bodies slowly."))
            except IncompleteBody:
                return _refuse(environ, start_response, RequestTimeout("The request's body did not arrive in time."))
            return application(environ, start_response)

    server = Server(
        str(Path(__file__)),  # for granian's logs only
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=1,
        blocking_threads=settings.threads + READERS,
        # Includes idle connections: pooled ones must not hold up health checks.
        backpressure=MAX_CONNECTIONS,
        backlog=1024,
        log_level=LogLevels.error,
        ssl_cert=Path(settings.internal_certificate_file) if settings.internal_certificate_file else None,
        ssl_key=Path(settings.internal_key_file) if settings.internal_key_file else None,
    )
    server.serve(target_loader=lambda *_: counted)
    _leave(in_flight, settings.request_timeout_seconds)


def _refuse(environ: Any, start_response: Any, problem: Problem) -> list[bytes]:
    # The unread body would be taken for the next request.
    headers = [("Content-Type", "application/problem+json"), ("Connection", "close"), *problem.headers.items()]
    start_response(f"{problem.status} {problem.title}", headers)
    with tracing.trace(tracing.incoming(environ), work=environ["REQUEST_METHOD"]):
        return [json.dumps({**problem.body(), "trace_id": tracing.trace_id()}).encode()]


def _leave(in_flight: InFlight, timeout_seconds: float) -> NoReturn:
    """Granian does not wait for requests whose clients left, and aborts on a normal exit."""
    deadline = time.monotonic() + timeout_seconds
    while in_flight.count and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    tracing.stop()
    os._exit(0)


def _hide_environment() -> None:
    """Granian copies it into every WSGI environment."""
    for name in list(os.environ):
        if name.startswith(("HTTP_", "SOUK_")) or name in ("REQUEST_URI", "CONTENT_LENGTH", "CONTENT_TYPE"):
            del os.environ[name]
