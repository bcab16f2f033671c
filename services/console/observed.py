"""Spans and log lines about an order or a request, from Jaeger and VictoriaLogs, where there are any."""

import json
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from chassis.base import jaeger
from chassis.base.jaeger import JaegerUnavailable, Span
from services.console.settings import ConsoleSettings

TIMEOUT_SECONDS = 2.0

MAX_TRACES = 5
MAX_SPANS = 150
"""Of a trace, the first ones."""

MAX_LINES = 200

_SHOWN_ELSEWHERE = frozenset(
    (
        *("_time", "_msg", "_stream", "_stream_id", "program", "level", "more", "exception"),
        *("service", "traceparent", "span_id", "work", "logger"),
    )
)


@dataclass(frozen=True)
class Bar:
    """Of a span. `left` and `width` in percent of its trace."""

    span: Span
    depth: int
    after: float
    """Milliseconds since the first one began."""

    left: float
    width: float


@dataclass(frozen=True)
class Trace:
    id: str
    milliseconds: float
    bars: Sequence[Bar]
    hidden: int
    """Spans that are not shown."""


@dataclass(frozen=True)
class Line:
    at: str
    program: str
    level: str
    event: str
    fields: Mapping[str, str]
    more: str
    """A traceback."""


@dataclass
class Observed:
    traces: list[Trace] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    no_traces: str = ""
    no_lines: str = ""
    """Why there are none; empty where the servers respond."""

    def __bool__(self) -> bool:
        return bool(self.traces or self.lines)


def of_order(order_id: UUID, trace_ids: Sequence[str]) -> Observed:
    conditions = [f'order_id:="{order_id}"']
    if trace_ids:
        # Not those of other orders in the same trace, such as a timer's.
        conditions.append(f'(trace_id:in({",".join(map(json.dumps, trace_ids))}) order_id:="")')
    found = Observed()
    with ThreadPoolExecutor(2) as pool:
        for reading in (pool.submit(_add_traces, found, trace_ids), pool.submit(_add_lines, found, conditions)):
            reading.result()
    return found


def of_request(request: UUID) -> Observed:
    """request: a correlation id, or a trace's. Log lines lead from the one to the other."""
    found = Observed()
    _add_lines(found, [f'correlation_id:="{request}"', f'trace_id:="{request.hex}"'])
    logged = dict.fromkeys(line.fields["trace_id"] for line in found.lines if "trace_id" in line.fields)
    _add_traces(found, [*logged] or [request.hex])
    return found


def _add_traces(found: Observed, trace_ids: Sequence[str]) -> None:
    url = ConsoleSettings.current().traces_url
    if not url:
        found.no_traces = "Spans are not collected here."
        return
    try:
        with ThreadPoolExecutor(MAX_TRACES) as pool:
            read = pool.map(lambda id_: jaeger.spans(url, id_, TIMEOUT_SECONDS), trace_ids[:MAX_TRACES])
            found.traces = [_trace(spans) for spans in read if spans]
    except JaegerUnavailable:
        found.no_traces = "Jaeger does not respond, so spans are missing."


def _trace(spans: Sequence[Span]) -> Trace:
    first = min(span.started for span in spans)
    whole = max(max(span.started + span.milliseconds for span in spans) - first, 0.001)

    def bars() -> Iterator[Bar]:
        for span, depth in jaeger.nested(spans):
            after = span.started - first
            yield Bar(span, depth, after, 100 * after / whole, 100 * span.milliseconds / whole)

    shown = [*bars()]
    return Trace(spans[0].trace_id, whole, shown[:MAX_SPANS], len(shown[MAX_SPANS:]))


def _add_lines(found: Observed, conditions: Sequence[str]) -> None:
    url = ConsoleSettings.current().logs_url
    if not url:
        found.no_lines = "Log lines are not collected here."
        return
    query = f"{' or '.join(conditions)} | sort by (_time) | limit {MAX_LINES}"
    try:
        with urllib.request.urlopen(  # noqa: S310 - the operator's setting
            f"{url}/select/logsql/query?{urlencode({'query': query})}", timeout=TIMEOUT_SECONDS
        ) as response:
            found.lines = [_line(json.loads(each)) for each in response if each.strip()]
    except (OSError, HTTPException, ValueError, KeyError):
        found.no_lines = "VictoriaLogs does not respond, so log lines are missing."


def _line(entry: Mapping[str, Any]) -> Line:
    fields = {name: str(value) for name, value in entry.items() if name not in _SHOWN_ELSEWHERE and value != ""}
    program, level, event, more = (entry.get(name, "") for name in ("program", "level", "_msg", "more"))
    return Line(entry["_time"], program, level, event, fields, more)
