"""Logging and metrics."""

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import structlog
from prometheus_client import REGISTRY, Counter, Gauge, Histogram


class OwnGauge(Gauge):
    """Shown once it is set: a program that only imports it must not report 0."""

    def __init__(self, name: str, documentation: str) -> None:
        super().__init__(name, documentation, registry=None)
        self._is_shown = False
        self._showing = threading.Lock()

    def set(self, value: float) -> None:
        super().set(value)
        if not self._is_shown:
            with self._showing:
                if not self._is_shown:
                    REGISTRY.register(self)
                    self._is_shown = True


BUILD = Gauge("souk_build_info", "1, with the release as a label.", ["version"])
OLDEST_UNSENT = OwnGauge(
    "souk_outbox_oldest_unsent_timestamp_seconds", "When the oldest unsent message was written, 0 if all are sent."
)
MESSAGES_SENT = Counter("souk_messages_sent_total", "Messages confirmed by the broker.", ["type"])
MESSAGES_HANDLED = Counter(
    "souk_messages_handled_total",
    "Messages received, by outcome: done, duplicate, retried or dead_letter.",
    ["type", "outcome"],
)
DEAD_LETTERS = Gauge("souk_dead_letters", "Messages that stay unhandled until an operator replays them.", ["queue"])
TASKS_HANDLED = Counter(
    "souk_tasks_handled_total",
    "Runs of Celery tasks, by outcome: done, retried or exhausted.",
    ["task", "outcome"],
)
HANDLING_SECONDS = Histogram(
    "souk_message_handling_seconds",
    "Duration of a handler with its commit.",
    ["type"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)

CONSUMED = Counter(
    "souk_consumed_total", "Deliveries from a queue that were handled, whatever came of them.", ["queue"]
)
CONSUMER_BUSY = Counter(
    "souk_consumer_busy_seconds_total", "Time spent on them, once for those handled together.", ["queue"]
)

MAX_DEPTH = 50

_SECRET_FIELDS = frozenset(
    {
        "password",
        "token",
        "access_token",
        "refresh_token",
        "authorization",
        "secret",
        "api_key",
        "card",
        "payment_method",
    }
)


_PLAIN = frozenset({str, int, float, bool, type(None)})


def configure_logging(service: str, level: str) -> None:
    """JSON lines to standard output, libraries' too."""

    def name_service(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"service": service, **event}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        name_service,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    structlog.configure(
        processors=[
            *shared,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Output())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(cast(TextIO, _Output()))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(_json),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


_encoder = json.JSONEncoder(default=repr)


def _json(event: dict[str, Any], **_: Any) -> str:
    """`json.dumps` would make an encoder for each line."""
    return _encoder.encode(event)


def consumed(queue: str, count: int, started: float) -> None:
    """started: by `perf_counter`."""
    CONSUMED.labels(queue).inc(count)
    CONSUMER_BUSY.labels(queue).inc(time.perf_counter() - started)


_held = threading.local()
_writing = threading.RLock()


@contextmanager
def one_write() -> Iterator[None]:
    """Lines of this thread are written at the end: each write wakes whoever reads our output."""
    if getattr(_held, "lines", None) is not None:
        yield
        return
    _held.lines = []
    try:
        yield
    finally:
        text = "".join(_held.lines)
        del _held.lines
        _Output().write(text)
        _Output().flush()


class _Output:
    """Ignores a closed pipe and a full disk."""

    def write(self, text: str) -> None:
        if (lines := getattr(_held, "lines", None)) is not None:
            lines.append(text)
            return
        # A pipe takes more than 4 KB in parts, and structlog and logging lock apart.
        with _writing, suppress(OSError, ValueError):
            sys.stdout.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()


def redact(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    for name, value in event.items():
        if type(value) not in _PLAIN or name.lower() in _SECRET_FIELDS:
            return {name: blanked(value, name) for name, value in event.items()}
    return event


def blanked(value: Any, name: str = "", depth: int = 0) -> Any:
    """`value` with secret fields redacted; all of it if `name` is secret."""
    if depth > MAX_DEPTH:
        return "[nested too deeply]"
    if name.lower() in _SECRET_FIELDS:
        return "[redacted]"
    if isinstance(value, dict):
        return {inner: blanked(content, str(inner), depth + 1) for inner, content in value.items()}
    if isinstance(value, list | tuple):
        return [blanked(content, depth=depth + 1) for content in value]
    return value
