"""Contexts are passed on as W3C says, and spans exported without ever being waited for."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client import REGISTRY

from chassis.base import otlp, tracing
from chassis.base.tracing import Kind
from tests.installation import until
from tests.otlp import Receiver, receiving, title
from tests.ports import free_port

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        otlp.start(found.url, "program", "1.0")
        yield found
        tracing.stop()


@pytest.mark.parametrize(
    ("incoming", "trace_id", "parent_id"),
    [
        (f"00-{TRACE}-{PARENT}-01", TRACE, PARENT),
        (f"01-{TRACE}-{PARENT}-03", TRACE, PARENT),
        (TRACE, TRACE, ""),
        ("", "", ""),
        (f"ff-{TRACE}-{PARENT}-01", "", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", "", ""),
        (f"00-{'0' * 32}-{PARENT}-01", "", ""),
        (f"00-{TRACE}-{'0' * 16}-01", "", ""),
        (f"00-{TRACE}-{PARENT}-01-more", "", ""),
        (f"00-{TRACE}-{PARENT}-01\n", "", ""),
        ("4929939187355598", "", ""),
    ],
)
def test_a_span_continues_a_valid_context_only(
    receiver: Receiver, incoming: str, trace_id: str, parent_id: str
) -> None:
    span = tracing.start("GET", Kind.SERVER, incoming)
    assert span is not None
    assert (span.parent_id, len(span.trace_id)) == (parent_id, 32)
    assert span.trace_id == trace_id or not trace_id
    with tracing.trace(incoming, span=span, work="GET"):
        assert tracing.traceparent() == f"00-{span.trace_id}-{span.span_id}-01"
        with tracing.call("send", {"server.port": 25}) as call:
            assert call is not None
            assert tracing.traceparent() == f"00-{span.trace_id}-{call.span_id}-01"
    span.end("500")
    tracing.stop()
    sent = {each.name: each for each in receiver.spans}
    assert (sent["send"].parent_id, sent["send"].attributes, sent["send"].kind) == (
        span.span_id,
        {"server.port": "25"},
        3,
    )
    assert (sent["GET"].error, sent["GET"].kind, title(sent["GET"])) == ("500", 2, "program GET")
    assert sent["GET"].started <= sent["send"].started <= sent["send"].ended <= sent["GET"].ended


def test_what_a_caller_does_not_sample_is_passed_on_unsampled(receiver: Receiver) -> None:
    incoming = f"00-{TRACE}-{PARENT}-00"
    assert tracing.start("GET", Kind.SERVER, incoming) is None
    with tracing.trace(incoming, work="GET"), tracing.call("send", {}) as call:
        assert call is None
        assert (tracing.traceparent(), tracing.trace_id(), tracing.exemplar()) == (incoming, TRACE, None)
    tracing.stop()
    assert not receiver.bodies


def test_without_a_receiver_no_span_is_made_and_contexts_pass_unchanged() -> None:
    incoming = f"00-{TRACE}-{PARENT}-01"
    assert tracing.start("GET", Kind.SERVER, incoming) is None
    with tracing.trace(incoming, work="GET"):
        assert tracing.traceparent() == incoming
    with tracing.trace(TRACE, work="GET"):
        assert (tracing.trace_id(), tracing.traceparent()[-3:]) == (TRACE, "-00")


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01"),
        (f"00-{TRACE}-{PARENT}-fe", f"00-{TRACE}-{PARENT}-00"),
        (f"cc-{TRACE}-{PARENT}-03", f"00-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-01-what-will-be", f"00-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-01.what-will-be", None),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"00-{TRACE}-{PARENT}-01-", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT.upper()}-01", None),
        (f"00-{TRACE}-{PARENT}-0A", None),
        (f"00-{TRACE}-{PARENT}", None),
        (f"00-{TRACE}", None),
        (f"{TRACE}-{PARENT}-01", None),
        ("0" * 32, None),
        ("", None),
    ],
)
def test_a_context_is_read_as_w3c_demands(sent: str, passed: str | None) -> None:
    """Of a malformed one nothing is kept."""
    with tracing.trace(sent, work="GET"):
        if passed is not None:
            assert tracing.traceparent() == passed
        else:
            assert tracing.trace_id() != TRACE
            assert tracing.traceparent()[-3:] == "-00"
    assert bool(tracing.identity(sent, "")) == (passed is not None)


def test_a_trace_of_its_own_begins_outside_any_other() -> None:
    assert (tracing.traceparent(), tracing.trace_id()) == ("", "")
    with tracing.trace(work="one"):
        one = tracing.trace_id()
    with tracing.trace(work="other"):
        assert len(one) == len(tracing.trace_id()) == 32
        assert one != tracing.trace_id()


def dropped() -> float:
    return REGISTRY.get_sample_value("souk_spans_dropped_total") or 0.0


def make(count: int) -> None:
    for _ in range(count):
        span = tracing.start("work", Kind.INTERNAL)
        assert span is not None
        span.end()


def test_spans_wait_for_a_receiver_that_is_unavailable() -> None:
    port, before = free_port(), dropped()
    otlp.start(f"http://127.0.0.1:{port}", "program", "1.0")
    make(otlp.MAX_QUEUED + 7)
    assert dropped() == before + 7
    receiver = Receiver(port)
    try:
        until(lambda: len(receiver.spans) == otlp.MAX_QUEUED)
        receiver.status = 503
        make(3)
        receiver.status = 200
        until(lambda: len(receiver.spans) == otlp.MAX_QUEUED + 3)
        tracing.stop()
    finally:
        receiver.close()
    assert dropped() == before + 7


def test_the_end_sends_what_is_left(receiver: Receiver) -> None:
    make(otlp.MAX_BATCH + 5)
    tracing.stop()
    assert len(receiver.spans) == otlp.MAX_BATCH + 5


def test_spans_that_the_receiver_refuses_are_dropped(receiver: Receiver) -> None:
    before, receiver.status = dropped(), 400
    make(5)
    tracing.stop()
    assert dropped() == before + 5


def test_a_receiver_that_never_responds_holds_up_nothing_but_the_end() -> None:
    never, asked = threading.Event(), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.set()
            never.wait()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    before = dropped()
    try:
        otlp.start(f"http://127.0.0.1:{server.server_port}", "program", "1.0")
        make(1)
        assert asked.wait(30)
        # A first span is being sent, and stays in the queue.
        make(otlp.MAX_QUEUED)
        assert dropped() == before + 1
        tracing.stop()
    finally:
        never.set()
        server.shutdown()
        server.server_close()


def test_a_span_says_what_otlp_demands(receiver: Receiver) -> None:
    make(1)
    tracing.stop()
    (resource,) = json.loads(receiver.bodies[0])["resourceSpans"]
    named = {each["key"]: each["value"]["stringValue"] for each in resource["resource"]["attributes"]}
    assert named["service.name"] == "program"
    assert named["service.namespace"] == "souk"
    (span,) = resource["scopeSpans"][0]["spans"]
    assert span.keys() == {
        *("traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes")
    }
