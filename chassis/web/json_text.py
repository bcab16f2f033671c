"""JSON that pydantic accepts and we do not."""

import json
from typing import Any

from chassis.base.problems import Invalid, Malformed
from chassis.base.validation import shortened


def check(raw: bytes) -> None:
    """Raises Malformed for a repeated key, Invalid for NUL, which databases reject. Passes what is not JSON."""
    try:
        remaining = [json.loads(raw, object_pairs_hook=_unique)]
    except (ValueError, RecursionError):
        return
    if b"\\u0000" not in raw:
        return
    for value in remaining:
        if isinstance(value, str) and "\0" in value:
            raise Invalid.fields(("body", "must not contain NUL characters"))
        remaining += value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else []


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise Malformed(f"The key {shortened(key)!r} is repeated.")
        members[key] = value
    return members
