"""The spans of a trace, from Jaeger's query API."""

import json
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from launcher.entries import Entry
from launcher.errors import LaunchError

TIMEOUT_SECONDS = 4


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

    def to_entry(self) -> Entry:
        about = {name: getattr(self, name) for name in ("trace_id", "span_id", "parent_id", "milliseconds")}
        return Entry(self.started / 1000, self.program, "error" if self.is_error else "info", self.name, about)


def spans(url: str, trace_id: str) -> list[Span]:
    """Empty if there are none. Raises LaunchError."""
    try:
        with urllib.request.urlopen(f"{url}/api/traces/{trace_id}", timeout=TIMEOUT_SECONDS) as response:
            found = json.load(response)["data"]
    except HTTPError as error:
        error.close()
        if error.code == 404:
            return []
        raise _unavailable(error) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _unavailable(error) from error
    return [_span(each, trace["processes"]) for trace in found for each in trace["spans"]]


def tree(found: Sequence[Span]) -> Iterator[str]:
    """A line for each span, indented below its parent: when it started after the first one, and how long it took."""
    first = min((span.started for span in found), default=0)
    ids = {span.span_id for span in found}
    for span in sorted(found, key=lambda span: span.started):
        # A lost parent must not hide its children.
        if span.parent_id not in ids:
            yield from _branch(span, found, first, 0)


def _branch(span: Span, found: Sequence[Span], first: float, depth: int) -> Iterator[str]:
    name = f"{'  ' * depth}{span.program} {span.name}{' (error)' if span.is_error else ''}"
    yield f"{name:<70} {span.started - first:>9.1f} ms {span.milliseconds:>9.1f} ms"
    for child in sorted(found, key=lambda each: each.started):
        if child.parent_id == span.span_id:
            yield from _branch(child, found, first, depth + 1)


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


def _unavailable(error: Exception) -> LaunchError:
    return LaunchError(f"Jaeger is unavailable ({error}), so spans are missing: ./souk up starts it.")
