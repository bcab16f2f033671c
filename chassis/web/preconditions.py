"""`If-Match`: a change is made only to the state that its caller has seen."""

from flask import request

from chassis.base.problems import PreconditionFailed, Problem


class PreconditionRequired(Problem):
    type, status, title = "/problems/precondition-required", 428, "If-Match required"


def seen_versions() -> list[int] | None:
    """The versions that `If-Match` names; None without the header, or when it says that any will do."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return [
        int(tag) for tag in request.if_match.as_set() if tag and tag.isascii() and tag.isdecimal() and len(tag) < 18
    ]


def expect(version: int) -> None:
    """Raises PreconditionFailed when the caller has seen another version than this present, locked one."""
    seen = seen_versions()
    if seen is not None and version not in seen:
        raise PreconditionFailed("It has changed in the meantime. Fetch it again.", version=version)
