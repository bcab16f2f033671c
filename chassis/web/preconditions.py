"""`If-Match`: change only the version seen. `If-None-Match`: send only what is new."""

import hashlib

from flask import request

from chassis.base.problems import PreconditionFailed, Problem


class PreconditionRequired(Problem):
    type, status, title = "/problems/precondition-required", 428, "If-Match required"


def weak_etag(body: bytes) -> str:
    return f'W/"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'


def seen_versions() -> list[int] | None:
    """None without `If-Match`, or for `*`."""
    if "If-Match" not in request.headers or request.if_match.star_tag:
        return None
    return [
        int(tag) for tag in request.if_match.as_set() if tag and tag.isascii() and tag.isdecimal() and len(tag) < 18
    ]


def expect(version: int) -> None:
    """version: read under lock. Raises PreconditionFailed."""
    seen = seen_versions()
    if seen is not None and version not in seen:
        raise PreconditionFailed("It has changed in the meantime. Fetch it again.", version=version)
