"""Shared by stand-ins; independent of the chassis, and light on memory."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple, NoReturn, TypeVar

from flask import Flask, Response, abort, json
from werkzeug.exceptions import HTTPException, UnprocessableEntity
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

S = TypeVar("S", bound=NamedTuple)

PROBLEM_JSON = "application/problem+json"


class InvalidField(UnprocessableEntity):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}.")
        self.field = field


def create_app(import_name: str, is_ready: Callable[[], bool]) -> Flask:
    app = Flask(import_name, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    app.register_error_handler(HTTPException, as_problem)

    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        if not is_ready():
            abort(503, "A dependency is unavailable.")
        return {"status": "ok"}

    return app


def as_problem(error: HTTPException) -> Response:
    """RFC 9457, with the error's headers."""
    problem = {"type": "about:blank", "title": error.name, "status": error.code, "detail": error.description}
    if isinstance(error, InvalidField):
        problem["field"] = error.field
    response = Response(json.dumps(problem), error.code, headers=error.get_headers())
    response.content_type = PROBLEM_JSON
    return response


@contextmanager
def listening(app: Flask, host: str, port: int) -> Iterator[int]:
    """Serve in threads, then finish open requests. Yields the port (0 picks a free one)."""
    server = _Server(host, port, app, handler=_Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()


def stop_signal() -> threading.Event:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def read(settings: type[S]) -> S:
    """Strings and ports from `SOUK_<NAME>`. Exits on a missing or invalid one."""
    values = dict(settings._field_defaults)
    for name, kind in settings.__annotations__.items():
        variable = f"SOUK_{name.upper()}"
        text = os.environ.get(variable)
        if text:
            is_valid = kind is str or text.isdecimal()
            values[name] = kind(text) if is_valid else _give_up(f"{variable} is not a port number: {text}")
        elif name not in values:
            _give_up(f"{variable} is not set.")
    return settings._make(values[name] for name in settings._fields)


def whole_number(arguments: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    """Raises InvalidField."""
    value = arguments.get(name, str(default))
    if not (value.isdecimal() and len(value) < 20 and int(value) in allowed):
        raise InvalidField(name, f"is a whole number from {allowed.start} to {allowed.stop - 1}")
    return int(value)


def _give_up(reason: str) -> NoReturn:
    sys.exit(f"{reason} `./souk up` sets the environment of the stand-ins.")


class _Server(ThreadedWSGIServer):
    # Joined at the end, so that every charge gets its response.
    daemon_threads = False


class _Handler(WSGIRequestHandler):
    # Seconds; a silent client would delay the stop.
    timeout = 5

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The caller logs it."""
