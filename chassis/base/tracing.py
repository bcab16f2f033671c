"""One trace through requests, messages, tasks and calls: W3C Trace Context, and spans of OpenTelemetry's conventions.

Spans are made only once `export_to` was called; see `otlp`. Attributes are names and ids of ours: what people send may be secret.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from structlog.contextvars import bind_contextvars, reset_contextvars

HEADERS = ("traceparent", "tracestate")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""A client may send any other."""

_TRACE_ID = re.compile("(?!0{32})[0-9a-f]{32}")
"""Strict: every log line shows it."""

_TRACEPARENT = re.compile(
    # Only later versions than 00 may have more.
    f"(?!ff|00-.{{53}})[0-9a-f]{{2}}-({_TRACE_ID.pattern})-((?!0{{16}})[0-9a-f]{{16}})-([0-9a-f]{{2}})(?:-.*)?"
)

_SAMPLED = 1
"""The flag."""

_CORRELATION_ID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
"""As the edge makes them. Other text of a client's may be secret."""

Attribute = str | int


class Kind(IntEnum):
    """OTLP's numbers."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Span:
    """`started` and `ended`: nanoseconds since the epoch. `error`: a status or the name of an exception, never its text."""

    __slots__ = (
        "attributes",
        "ended",
        "error",
        "is_handed_on",
        "kind",
        "name",
        "parent_id",
        "span_id",
        "started",
        "trace_id",
    )

    def __init__(self, name: str, kind: Kind, trace_id: str, parent_id: str, span_id: str = "") -> None:
        self.name, self.kind = name, kind
        self.trace_id, self.parent_id, self.span_id = trace_id, parent_id, span_id or _random_id(64)
        self.started, self.ended = time.time_ns(), 0
        self.attributes: dict[str, Attribute] = {}
        self.error = ""
        self.is_handed_on = False
        """Whether another span may be its child."""

    @property
    def traceparent(self) -> str:
        self.is_handed_on = True
        return f"00-{self.trace_id}-{self.span_id}-01"

    def end(self, error: str = "") -> None:
        self.ended = time.time_ns()
        self.error = error or self.error
        if _export is not None:
            _export(self)


def _nothing() -> None:
    """What there is to stop without an exporter."""


_export: Callable[[Span], None] | None = None
_stop: Callable[[], None] = _nothing
_current: ContextVar[Span | str] = ContextVar("trace", default="")
_correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")


def export_to(export: Callable[[Span], None] | None, stop: Callable[[], None] = _nothing) -> None:
    """`export` must not block. `stop` sends what is left."""
    global _export, _stop
    _export, _stop = export, stop


def stop() -> None:
    """Before the process ends."""
    _stop()
    export_to(None)


def traceparent() -> str:
    """To hand on. Empty outside a trace."""
    current = _current.get()
    return current if isinstance(current, str) else current.traceparent


def trace_id() -> str:
    """Empty outside a trace."""
    current = _current.get()
    return current[3:35] if isinstance(current, str) else current.trace_id


def correlation_id() -> str:
    """The edge's id of the request in which everything here began; empty if in none."""
    return _correlation_id.get()


def identity(traceparent: str, correlation_id: str) -> dict[str, str]:
    """As fields of a log line."""
    found = {}
    if context := _parsed(traceparent):
        found["trace_id"] = context[0]
    if _CORRELATION_ID.fullmatch(correlation_id):
        found["correlation_id"] = correlation_id
    return found


def exemplar(span: Span | None = None) -> dict[str, str] | None:
    """Leads from a metric to the trace of `span`, by default the current one; None if it is not exported."""
    found = span or _current.get()
    return None if isinstance(found, str) else {"trace_id": found.trace_id}


def repeatable_id(*parts: object) -> str:
    """Of a span that a redelivery makes again: a process that is killed takes its spans along, but not what it has committed."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=8).hexdigest()


def start(name: str, kind: Kind, incoming: str = "", span_id: str = "") -> Span | None:
    """In the trace of `incoming`, or a new one. None if spans are not exported, or not those of this trace."""
    if _export is None:
        return None
    trace_id, parent_id, flags = _parsed(incoming) or (_random_id(128), "", _SAMPLED)
    return Span(name, kind, trace_id, parent_id, span_id) if flags else None


def is_on() -> bool:
    return _export is not None


def is_sampled(traceparent: str) -> bool:
    """True unless it says no."""
    found = _parsed(traceparent)
    return found is None or bool(found[2])


def _random_id(bits: int) -> str:
    """An id, not a secret: asking the system would take three times as long. Python seeds it anew after a fork."""
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"


@lru_cache(64)
def _parsed(incoming: str) -> tuple[str, str, int] | None:
    """Trace, parent and flag of a traceparent, or of the id of a trace without spans yet."""
    if _TRACE_ID.fullmatch(incoming):
        return incoming, "", _SAMPLED
    if found := _TRACEPARENT.fullmatch(incoming):
        return found[1], found[2], int(found[3], 16) & _SAMPLED
    return None


def unsampled(trace_id: str) -> str:
    """A context whose spans are not exported."""
    return f"00-{trace_id}-{_random_id(64)}-00"


@contextmanager
def trace(
    incoming: str = "", correlation_id: str = "", span: Span | None = None, *, work: str, **fields: str
) -> Iterator[None]:
    """The block belongs to `span`, or else to the trace of `incoming`, or to a new one, which is not sampled."""
    ids, context = identity(incoming, correlation_id), _parsed(incoming)
    if span is not None:
        current: Span | str = span
        ids["trace_id"] = span.trace_id
    elif context is not None and context[1]:
        # In our version, without what a later one may add.
        current = f"00-{context[0]}-{context[1]}-{context[2]:02}"
    else:
        current = unsampled(ids.setdefault("trace_id", _random_id(128)))
    token = _current.set(current)
    bound = bind_contextvars(work=work, **ids, **fields)
    correlated = _correlation_id.set(ids.get("correlation_id") or _correlation_id.get())
    try:
        yield
    finally:
        _correlation_id.reset(correlated)
        _current.reset(token)
        reset_contextvars(**bound)


def incoming(environ: dict[str, Any]) -> str:
    """The caller's trace, or the edge's id of the request, which becomes the trace's."""
    return environ.get("HTTP_TRACEPARENT") or environ.get("HTTP_X_KONG_REQUEST_ID", "")


def end_of_request(span: Span, method: str, route: str, status: int) -> None:
    """Without the path and query, which may hold a secret."""
    known = method if method in METHODS else "_OTHER"
    span.name = f"{known if known == method else 'HTTP'} {route}"
    span.attributes = {"http.request.method": known, "http.route": route, "http.response.status_code": status}
    span.end(str(status) if status >= 500 else "")


def http_call(method: str, url: str) -> AbstractContextManager[Span | None]:
    """A call of a fixed address. Not the path, which may hold a secret."""
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    names: dict[str, Attribute] = {"http.request.method": method, "server.address": address.hostname or ""}
    return call(method, {**names, "server.port": port})


def responded(span: Span | None, status: int) -> None:
    if span is not None:
        span.attributes["http.response.status_code"] = status
        span.error = str(status) if status >= 400 else ""


@contextmanager
def call(name: str, attributes: dict[str, Attribute], kind: Kind = Kind.CLIENT) -> Iterator[Span | None]:
    """A child of the current span, if there is one."""
    parent = _current.get()
    if isinstance(parent, str):
        yield None
        return
    parent.is_handed_on = True
    span = Span(name, kind, parent.trace_id, parent.span_id)
    span.attributes = attributes
    token = _current.set(span)
    try:
        yield span
    except BaseException as error:
        span.error = type(error).__name__
        raise
    finally:
        _current.reset(token)
        span.end()
