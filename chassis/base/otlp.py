"""Exports spans as OTLP over HTTP, in JSON, from a thread: https://opentelemetry.io/docs/specs/otlp/#otlphttp

Not by the official SDK: docs/decisions/0048-spans-without-the-sdk.md.
"""

import json
import threading
import time
from collections import deque
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit
from uuid import uuid4

from prometheus_client import Counter
from structlog import get_logger

from chassis.base import tracing
from chassis.base.tracing import Attribute, Span

log = get_logger(__name__)

DROPPED = Counter("souk_spans_dropped_total", "Spans that were not exported: too many, or refused by the receiver.")

MAX_QUEUED = 2_048
"""About 1 MB. What does not fit is dropped: a request waits for no receiver."""

MAX_BATCH = 512

DELAY_SECONDS = 0.5
"""Spans are gathered for so long."""

MAX_DELAY_SECONDS = 5.0
"""While the receiver is unavailable."""

TIMEOUT_SECONDS = 2.0

_RETRYABLE = frozenset({429, 502, 503, 504})

_ERROR = 2

_JSON = {"Content-Type": "application/json"}

_quoted = json.encoder.encode_basestring_ascii


class Exporter:
    """Start it in the process whose spans it exports, never before a fork."""

    def __init__(self, url: str, program: str, version: str) -> None:
        address = urlsplit(url)
        connection = HTTPSConnection if address.scheme == "https" else HTTPConnection
        # urllib3 takes almost twice the processor time.
        self._connection = connection(address.hostname or "", address.port, timeout=TIMEOUT_SECONDS)
        self._path = f"{address.path.rstrip('/')}/v1/traces"
        self._resource = _attributes(
            {
                "service.name": program,
                "service.namespace": "souk",
                "service.version": version,
                "service.instance.id": str(uuid4()),
            }
        )
        self._queue: deque[Span] = deque()
        self._arrived, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def add(self, span: Span) -> None:
        if len(self._queue) >= MAX_QUEUED:
            DROPPED.inc()
            return
        self._queue.append(span)
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self) -> None:
        """Send what is left."""
        self._stopping.set()
        self._arrived.set()
        self._thread.join(2 * TIMEOUT_SECONDS)

    def _run(self) -> None:
        delay = DELAY_SECONDS
        while not self._stopping.is_set():
            self._arrived.wait()
            self._stopping.wait(delay)
            self._arrived.clear()
            delay = DELAY_SECONDS if self._send_all() else min(2 * delay, MAX_DELAY_SECONDS)
        while self._queue and self._send_all():
            pass

    def _send_all(self) -> bool:
        """False if the receiver is unavailable. What it has not taken stays, and what came meanwhile waits for more."""
        until = time.monotonic() + MAX_DELAY_SECONDS
        size = 1
        while len(self._queue) >= size and time.monotonic() < until:
            size = MAX_BATCH
            batch = [self._queue[place] for place in range(min(len(self._queue), MAX_BATCH))]
            if not self._send(batch):
                self._arrived.set()
                return False
            for _ in batch:
                self._queue.popleft()
        if self._queue:
            self._arrived.set()
        return True

    def _send(self, batch: list[Span]) -> bool:
        spans = ",".join(map(encoded, batch))
        body = (
            f'{{"resourceSpans":[{{"resource":{{"attributes":{self._resource}}},'
            f'"scopeSpans":[{{"scope":{{"name":"souk"}},"spans":[{spans}]}}]}}]}}'
        )
        try:
            status = self._post(body)
        except (HTTPException, OSError):
            self._connection.close()
            return False
        if status in _RETRYABLE:
            return False
        if status >= 300:
            DROPPED.inc(len(batch))
            log.warning("spans refused", status=status, count=len(batch))
        return True

    def _post(self, body: str) -> int:
        self._connection.request("POST", self._path, body.encode(), _JSON)
        response = self._connection.getresponse()
        response.read()
        return response.status


def encoded(span: Span) -> str:
    """By hand, which takes a third of a JSON library's time."""
    attributes = span.attributes | ({"error.type": span.error} if span.error else {})
    status = f',"status":{{"code":{_ERROR}}}' if span.error else ""
    return (
        f'{{"traceId":"{span.trace_id}","spanId":"{span.span_id}","parentSpanId":"{span.parent_id}",'
        f'"name":{_quoted(span.name)},"kind":{span.kind:d},"startTimeUnixNano":"{span.started}",'
        f'"endTimeUnixNano":"{span.ended}","attributes":{_attributes(attributes)}{status}}}'
    )


def _attributes(attributes: dict[str, Attribute]) -> str:
    return f"[{','.join([_attribute(name, value) for name, value in attributes.items()])}]"


@lru_cache(256)
def _attribute(name: str, value: Attribute) -> str:
    typed = f'"stringValue":{_quoted(value)}' if isinstance(value, str) else f'"intValue":"{value}"'
    return f'{{"key":{_quoted(name)},"value":{{{typed}}}}}'


def start(url: str, program: str, version: str) -> None:
    exporter = Exporter(url, program, version)
    tracing.export_to(exporter.add, exporter.close)
