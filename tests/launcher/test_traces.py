"""A trace's spans are shown as a tree, from Jaeger's query API."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from launcher import traces
from launcher.errors import LaunchError

TRACE = "0af7651916cd43dd8448eb211c80319c"


def span(id_: str, parent: str, name: str, at: int, took: int, process: str, is_error: bool = False) -> dict[str, Any]:
    """As Jaeger 1.76 gives it; microseconds."""
    tags = [{"key": "span.kind", "type": "string", "value": "server"}]
    return {
        "traceID": TRACE,
        "spanID": id_,
        "operationName": name,
        "references": [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": parent}] if parent else [],
        "startTime": 1795940765000000 + at,
        "duration": took,
        "tags": [*tags, {"key": "error", "type": "bool", "value": True}] if is_error else tags,
        "processID": process,
    }


SPANS = [
    span("c", "b", "send stock.reserve", 9_000, 1_500, "p2"),
    span("a", "", "POST orders-all", 0, 12_345, "p1"),
    span("d", "lost", "smtp send", 50_000, 2_000, "p2", is_error=True),
    span("b", "a", "POST /orders/", 1_000, 8_000, "p2"),
]
TREE = [
    "gateway POST orders-all 0.0 ms 12.3 ms",
    "  orders-web POST /orders/ 1.0 ms 8.0 ms",
    "    orders-web send stock.reserve 9.0 ms 1.5 ms",
    "orders-web smtp send (error) 50.0 ms 2.0 ms",
]


@pytest.fixture
def jaeger() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path == f"/api/traces/{TRACE}"
            processes = {"p1": {"serviceName": "gateway"}, "p2": {"serviceName": "orders-web"}}
            body = {"data": [{"traceID": TRACE, "spans": SPANS, "processes": processes}] if is_known else None}
            self.send_response(200 if is_known else 503 if "busy" in self.path else 404)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_spans_are_below_their_parents_in_the_order_of_time(jaeger: str) -> None:
    shown = list(traces.tree(traces.spans(jaeger, TRACE)))
    indented = [line[: len(line) - len(line.lstrip())] + " ".join(line.split()) for line in shown]
    assert indented == TREE


def test_spans_are_entries_for_programs(jaeger: str) -> None:
    entry = json.loads(traces.to_entry(traces.spans(jaeger, TRACE)[2]).to_json())
    assert entry == {
        "time": "2026-11-29T08:26:05.050+00:00",
        "program": "orders-web",
        "level": "error",
        "event": "smtp send",
        "trace_id": TRACE,
        "span_id": "d",
        "parent_id": "lost",
        "milliseconds": 2.0,
    }


def test_a_trace_that_jaeger_does_not_have_is_empty(jaeger: str) -> None:
    assert traces.spans(jaeger, "f" * 32) == []


def test_one_sentence_says_that_jaeger_is_unavailable(jaeger: str) -> None:
    with pytest.raises(LaunchError, match="Jaeger is unavailable"):
        traces.spans(jaeger, "busy")
    with pytest.raises(LaunchError, match="Jaeger is unavailable"):
        traces.spans("http://127.0.0.1:1", TRACE)
