"""The spans of a trace, from Jaeger's query API."""

import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

TIMEOUT_SECONDS = 4


class JaegerUnavailable(Exception):
    """Says why."""


@dataclass(frozen=True)
class Span:
    """Times in milliseconds, `started` since the epoch."""

    program: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    started: float
    milliseconds: float
    is_error: bool


def spans(url: str, trace_id: str, timeout_seconds: float = TIMEOUT_SECONDS) -> list[Span]:
    """Empty if there are none. Raises JaegerUnavailable."""
    try:
        with urllib.request.urlopen(  # noqa: S310 - the operator's setting
            f"{url}/api/traces/{trace_id}", timeout=timeout_seconds
        ) as response:
            found = json.load(response)["data"]
    except HTTPError as error:
        error.close()
        if error.code == 404:
            return []
        raise JaegerUnavailable(str(error)) from error
    except (OSError, HTTPException, ValueError, KeyError) as error:
        raise JaegerUnavailable(str(error)) from error
    return [_span(each, trace["processes"]) for trace in found for each in trace["spans"]]


def nested(found: Sequence[Span]) -> Iterator[tuple[Span, int]]:
    """Each with its depth below its parent, in the order of time."""
    ids = {span.span_id for span in found}
    by_time = sorted(found, key=lambda span: span.started)

    def branch(span: Span, depth: int) -> Iterator[tuple[Span, int]]:
        yield span, depth
        for child in by_time:
            if child.parent_id == span.span_id:
                yield from branch(child, depth + 1)

    for span in by_time:
        # A lost parent must not hide its children.
        if span.parent_id not in ids:
            yield from branch(span, 0)


def _span(each: dict[str, Any], processes: dict[str, Any]) -> Span:
    parents = [reference["spanID"] for reference in each["references"] if reference["refType"] == "CHILD_OF"]
    return Span(
        processes[each["processID"]]["serviceName"],
        each["operationName"],
        each["traceID"],
        each["spanID"],
        parents[0] if parents else "",
        each["startTime"] / 1000,
        each["duration"] / 1000,
        any(tag["key"] == "error" and tag["value"] for tag in each["tags"]),
    )
