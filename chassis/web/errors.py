"""Renders every error as problem+json."""

import json
from collections.abc import Iterable
from typing import Any

from flask import Flask, Response
from structlog import get_logger
from werkzeug.exceptions import HTTPException

from chassis.base import deadline, tracing
from chassis.base.problems import Problem, Unavailable, problem_body
from chassis.storage import store

log = get_logger(__name__)

_KEPT_HEADERS = ("Allow", "Retry-After", "Location")


def register(app: Flask, unavailable: Iterable[type[Exception]]) -> None:
    """unavailable: see `Store.unavailable`."""
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_error)
    for error in unavailable:
        app.register_error_handler(error, _database_unavailable)
    app.register_error_handler(Exception, _unexpected)


def _problem(problem: Problem) -> Response:
    return _response(problem.body(), problem.headers)


def _http_error(error: HTTPException) -> Response:
    headers = {name: value for name, value in error.get_headers() if name in _KEPT_HEADERS}
    return _response(problem_body(error.code or 500, error.name, detail=error.description or ""), headers)


def _database_unavailable(error: Exception) -> Response:
    if deadline.is_over():
        log.warning("request ran out of time", error=type(error).__name__)
        return _problem(deadline.DeadlineExceeded("The request ran out of time. Nothing was changed."))
    log.error("database unavailable", **store.described(error))
    return _problem(Unavailable("The database did not respond in time."))


def _unexpected(error: Exception) -> Response:
    log.exception("unhandled error", exc_info=error)
    return _response(
        problem_body(500, "Internal Server Error", detail="Something went wrong on our side. It has been logged.")
    )


def _response(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    content = json.dumps({**body, "trace_id": tracing.trace_id()})
    return Response(content, body["status"], headers, content_type="application/problem+json")
