"""RFC 9457 problems, rendered at the edge."""

from typing import Any, ClassVar, Self

MAX_ERRORS = 10


class Problem(Exception):
    """`title` names the kind, `detail` describes this case. In a message handler: do not retry."""

    type: ClassVar[str] = "about:blank"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad request"

    def __init__(self, detail: str = "", headers: dict[str, str] | None = None, **extensions: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = headers or {}
        self.extensions = extensions

    def body(self) -> dict[str, Any]:
        return problem_body(self.status, self.title, self.type, self.detail, **self.extensions)


class Malformed(Problem):
    type, status, title = "/problems/malformed", 400, "Malformed request"


class Unauthorized(Problem):
    type, status, title = "/problems/unauthorized", 401, "Authentication required"


class Forbidden(Problem):
    type, status, title = "/problems/forbidden", 403, "Permission denied"


class NotFound(Problem):
    type, status, title = "/problems/not-found", 404, "Not found"


class RequestTimeout(Problem):
    type, status, title = "/problems/request-timeout", 408, "Request timed out"


class Conflict(Problem):
    type, status, title = "/problems/conflict", 409, "Conflict with the current state"


class PreconditionFailed(Problem):
    type, status, title = "/problems/precondition-failed", 412, "Precondition failed"


class UnsupportedMedia(Problem):
    type, status, title = "/problems/unsupported-media", 415, "Unsupported media type"


class Invalid(Problem):
    """`errors`: {field, message}; a dotted path or query parameter."""

    type, status, title = "/problems/invalid", 422, "Invalid request"

    @classmethod
    def fields(cls, *errors: tuple[str, str]) -> Self:
        """Of (field, message). Beyond MAX_ERRORS, only counts in `more_errors`."""
        listed = [{"field": field, "message": message} for field, message in errors[:MAX_ERRORS]]
        detail = "; ".join(f"{each['field']}: {each['message']}" for each in listed)
        if more := len(errors) - len(listed):
            return cls(f"{detail}; and {more:,} more", errors=listed, more_errors=more)
        return cls(detail, errors=listed)


class Unavailable(Problem):
    """Carries Retry-After."""

    type, status, title = "/problems/unavailable", 503, "Service temporarily unavailable"

    def __init__(self, detail: str = "", retry_after_seconds: int = 2, **extensions: Any) -> None:
        super().__init__(detail, {"Retry-After": str(retry_after_seconds)}, **extensions)


def problem_body(
    status: int,
    title: str,
    type: str = "about:blank",  # noqa: A002 - RFC 9457 names the member so
    detail: str = "",
    **extensions: Any,
) -> dict[str, Any]:
    described = {"detail": detail} if detail else {}
    return {"type": type, "title": title, "status": status, **described, **extensions}
