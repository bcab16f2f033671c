"""What a caller can act on: RFC 9457 problems, raised where they are found and rendered at the edge."""

from typing import Any, ClassVar

from flask import Flask, Response, json
from sqlalchemy.exc import OperationalError
from structlog import get_logger
from werkzeug.exceptions import HTTPException

log = get_logger(__name__)


class Problem(Exception):
    """Base of every expected error.

    `title` names the kind and never varies; `detail` is one sentence for a person about this case; extensions are for programs.
    In a message handler a Problem means that no retry will help.
    """

    type: ClassVar[str] = "about:blank"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad request"

    def __init__(self, detail: str = "", headers: dict[str, str] | None = None, **extensions: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = headers or {}
        self.extensions = extensions

    def response(self) -> Response:
        return render(self.status, self.title, self.type, self.detail, self.headers, self.extensions)


class Malformed(Problem):
    type, status, title = "/problems/malformed", 400, "The request could not be read"


class Unauthorized(Problem):
    type, status, title = "/problems/unauthorized", 401, "Who are you?"


class Forbidden(Problem):
    type, status, title = "/problems/forbidden", 403, "You may not do this"


class NotFound(Problem):
    type, status, title = "/problems/not-found", 404, "Not found"


class Conflict(Problem):
    type, status, title = "/problems/conflict", 409, "The present state forbids this"


class UnsupportedMedia(Problem):
    type, status, title = "/problems/unsupported-media", 415, "Only application/json is understood"


class Invalid(Problem):
    """Understood but invalid; `errors` lists {field, message}, the field as a dotted path."""

    type, status, title = "/problems/invalid", 422, "The request is invalid"


class Unavailable(Problem):
    """Something this request needs is away for now. Carries Retry-After, in seconds."""

    type, status, title = "/problems/unavailable", 503, "Try again soon"

    def __init__(self, detail: str = "", retry_after_seconds: int = 2, **extensions: Any) -> None:
        super().__init__(detail, {"Retry-After": str(retry_after_seconds)}, **extensions)


def render(
    status: int,
    title: str,
    type: str = "about:blank",  # noqa: A002 - RFC 9457 names the member so
    detail: str = "",
    headers: dict[str, str] | None = None,
    extensions: dict[str, Any] | None = None,
) -> Response:
    body: dict[str, Any] = {"type": type, "title": title, "status": status}
    if detail:
        body["detail"] = detail
    body.update(extensions or {})
    return Response(json.dumps(body), status=status, headers=headers, content_type="application/problem+json")


def register(app: Flask) -> None:
    """Make every error of `app` a problem+json: ours, Werkzeug's, a lost dependency and a bug."""
    app.register_error_handler(Problem, Problem.response)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(OperationalError, _database_error)
    app.register_error_handler(Exception, _bug)


def _http_error(error: HTTPException) -> Response:
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After", "Location")}
    return render(error.code or 500, error.name, detail=error.description or "", headers=headers)


def _database_error(error: OperationalError) -> Response:
    log.error("database unavailable", error=str(error.orig))
    return Unavailable("The database did not answer in time.").response()


def _bug(error: Exception) -> Response:
    log.exception("unhandled error", exc_info=error)
    return render(500, "Internal Server Error", detail="This is our fault and has been recorded.")
