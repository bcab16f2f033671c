"""What the stand-ins for outside parties share: a small app, problems as JSON, a server that stops cleanly.

They play somebody else's systems (a payment provider, a mail server), so they do not stand on the chassis;
and they run beside the whole stack on one machine, so they import Flask and nothing heavier.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

from flask import Flask, Response, abort, json
from werkzeug.exceptions import HTTPException, UnprocessableEntity
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

PROBLEM_JSON = "application/problem+json"


class InvalidField(UnprocessableEntity):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}.")
        self.field = field


def create_app(import_name: str, is_ready: Callable[[], bool]) -> Flask:
    """A Flask app with the two health answers, whose every error is problem+json."""
    app = Flask(import_name, static_folder=None)
    # Nothing that is sent to a stand-in over HTTP is bigger.
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    app.register_error_handler(HTTPException, as_problem)

    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        if not is_ready():
            abort(503, "It runs, but what it stands on does not answer.")
        return {"status": "ok"}

    return app


def as_problem(error: HTTPException) -> Response:
    """RFC 9457; the error's headers, such as Allow, are kept."""
    problem = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
    if isinstance(error, InvalidField):
        problem["field"] = error.field
    response = Response(json.dumps(problem), error.code, headers=error.get_headers())
    response.content_type = PROBLEM_JSON
    return response


@contextmanager
def listening(app: Flask, host: str, port: int) -> Iterator[int]:
    """Serve `app` in threads for as long as the block runs; gives the port, which is a free one for 0.

    On the way out the requests in hand are answered first.
    """
    server = _Server(host, port, app, handler=_Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()


def stop_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set; waiting on it is how a stand-in runs."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def environment(name: str, default: str | None = None) -> str:
    """The variable's value; ends the process with one line that says what is missing."""
    value = os.environ.get(name) or default
    return value if value is not None else _give_up(f"{name} is not set.")


def host() -> str:
    return environment("SOUK_HOST", "127.0.0.1")


def port_number(name: str) -> int:
    value = environment(name)
    return int(value) if value.isdecimal() else _give_up(f"{name} is no port number: {value}")


def whole_number(arguments: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    """The query argument of that name; raises InvalidField."""
    value = arguments.get(name, str(default))
    if not (value.isdecimal() and len(value) < 20 and int(value) in allowed):
        raise InvalidField(name, f"is a whole number from {allowed.start} to {allowed.stop - 1}")
    return int(value)


def _give_up(reason: str) -> NoReturn:
    sys.exit(f"{reason} `./souk up` gives the stand-ins their environment.")


class _Server(ThreadedWSGIServer):
    # Threads that are joined at the end: a charge that was made is also answered.
    daemon_threads = False


class _Handler(WSGIRequestHandler):
    # A client that connects and says nothing holds its thread, and the stop, no longer than this.
    timeout = 5

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Said nowhere: both sides of a call to a stand-in are ours, and the caller logs it."""
