"""A small OpenTelemetry receiver: OTLP over HTTP, in JSON."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from chassis.base import jaeger
from launcher import traces


@dataclass(frozen=True)
class Span:
    program: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    started: int
    ended: int
    error: str
    attributes: dict[str, Any] = field(hash=False)


class Receiver:
    """`bodies`: as received. `status`: of the next responses."""

    def __init__(self, port: int = 0) -> None:
        self.bodies: list[bytes] = []
        self.status = 200
        self.server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def spans(self) -> list[Span]:
        return self.trace("")

    def trace(self, trace_id: str) -> list[Span]:
        """The first of each id: a process that was killed may have sent some before."""
        found: dict[str, Span] = {}
        for body in [body for body in self.bodies if trace_id.encode() in body]:
            for resource in json.loads(body)["resourceSpans"]:
                program = _values(resource["resource"]["attributes"])["service.name"]
                for scope in resource["scopeSpans"]:
                    for each in scope["spans"]:
                        if trace_id in ("", each["traceId"]):
                            found.setdefault(each["spanId"], _span(program, each))
        return list(found.values())


def edges(spans: list[Span]) -> list[str]:
    """parent > child, by program and name. Raises AssertionError unless all have one root."""
    by_id = {span.span_id: span for span in spans}
    roots = [span for span in spans if not span.parent_id]
    orphans = [span for span in spans if span.parent_id and span.parent_id not in by_id]
    assert not orphans, [title(span) for span in orphans]
    assert len(roots) == 1, [title(span) for span in roots]
    return sorted(f"{title(by_id[span.parent_id])} > {title(span)}" for span in spans if span.parent_id)


def title(span: Span) -> str:
    return f"{span.program} {span.name}"


def tree(spans: list[Span]) -> Iterator[str]:
    """As `./souk trace` shows it."""
    return traces.tree([_of_jaeger(span) for span in spans])


def _of_jaeger(span: Span) -> jaeger.Span:
    started, milliseconds = span.started / 1e6, (span.ended - span.started) / 1e6
    ids = span.trace_id, span.span_id, span.parent_id
    return jaeger.Span(span.program, span.name, *ids, started, milliseconds, bool(span.error))


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_valid = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
            status = receiver.status if is_valid else 404
            if status == 200:
                receiver.bodies.append(body)
            self.send_response(status)
            self.send_header("Content-Length", "2")
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            """Tests have enough output."""

    return Handler


def _span(program: str, each: dict[str, Any]) -> Span:
    attributes = _values(each["attributes"])
    error = str(attributes.get("error.type", ""))
    assert bool(error) == (each.get("status", {}).get("code") == 2)
    return Span(
        program,
        each["name"],
        each["traceId"],
        each["spanId"],
        each["parentSpanId"],
        each["kind"],
        int(each["startTimeUnixNano"]),
        int(each["endTimeUnixNano"]),
        error,
        attributes,
    )


def _values(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in attributes}
