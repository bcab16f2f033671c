"""The spans of a trace, for the terminal."""

from collections.abc import Iterator, Sequence

from chassis.base import jaeger
from chassis.base.jaeger import JaegerUnavailable, Span
from launcher.entries import Entry
from launcher.errors import LaunchError


def to_entry(span: Span) -> Entry:
    about = {name: getattr(span, name) for name in ("trace_id", "span_id", "parent_id", "milliseconds")}
    return Entry(span.started / 1000, span.program, "error" if span.is_error else "info", span.name, about)


def spans(url: str, trace_id: str) -> list[Span]:
    """Empty if there are none. Raises LaunchError."""
    try:
        return jaeger.spans(url, trace_id)
    except JaegerUnavailable as error:
        raise LaunchError(f"Jaeger is unavailable ({error}), so spans are missing: ./souk up starts it.") from error


def tree(found: Sequence[Span]) -> Iterator[str]:
    """A line for each span, indented below its parent: when it started after the first one, and how long it took."""
    first = min((span.started for span in found), default=0)
    for span, depth in jaeger.nested(found):
        name = f"{'  ' * depth}{span.program} {span.name}{' (error)' if span.is_error else ''}"
        yield f"{name:<70} {span.started - first:>9.1f} ms {span.milliseconds:>9.1f} ms"
