"""What is seen from outside: structured logs without secrets, the trace that ties hops together, domain metrics."""

import logging
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import structlog
from prometheus_client import Counter, Gauge, Histogram
from structlog.contextvars import bound_contextvars, get_contextvars

OUTBOX_AGE = Gauge("souk_outbox_oldest_unsent_seconds", "Age of the oldest message that waits to be sent.")
MESSAGES_SENT = Counter("souk_messages_sent_total", "Messages confirmed by the broker.", ["type"])
MESSAGES_HANDLED = Counter(
    "souk_messages_handled_total",
    "Messages received, by outcome: done, duplicate, retried or dead_letter.",
    ["type", "outcome"],
)
DEAD_LETTERS = Gauge(
    "souk_dead_letters", "Messages that nobody will handle unless an operator replays them.", ["queue"]
)
TASKS_HANDLED = Counter(
    "souk_tasks_handled_total",
    "Runs of Celery tasks, by what became of them: done, retried or exhausted.",
    ["task", "outcome"],
)
HANDLING_SECONDS = Histogram("souk_message_handling_seconds", "Time a handler and its commit took.", ["type"])

TRACEPARENT = re.compile("[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, version 0. It comes from clients and ends up in every log line, so it must be nothing else."""

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


def configure_logging(service: str, level: str) -> None:
    """JSON lines on standard output, one event each; library loggers included."""

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
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Output())),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(cast(TextIO, _Output()))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak up only when something is wrong: our own events tell the story.
    root.setLevel(logging.WARNING)


class _Output:
    """Standard output, except that work goes on when nobody reads it any more or the disk behind it is full."""

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stdout.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()


def redact(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Blank the value of every field whose name says that it is a secret, at any depth."""
    return {name: blanked(value, name) for name, value in event.items()}


def blanked(value: Any, name: str = "") -> Any:
    """The value of the field `name` without what a field's name says is secret."""
    if name.lower() in _SECRET_FIELDS:
        return "[redacted]"
    if isinstance(value, dict):
        return {inner: blanked(content, str(inner)) for inner, content in value.items()}
    if isinstance(value, list | tuple):
        return [blanked(content) for content in value]
    return value


def traceparent() -> str:
    """The W3C trace context of the present work, to hand on; "" outside of any."""
    return str(get_contextvars().get("traceparent", ""))


@contextmanager
def trace(incoming: str = "", *, work: str, **fields: Any) -> Iterator[None]:
    """`work` in the block belongs to the trace of `incoming` (a traceparent), or to a new one; logs carry all of it and `fields`."""
    known = TRACEPARENT.fullmatch(incoming)
    trace_id = known[1] if known else secrets.token_hex(16)
    context = f"00-{trace_id}-{secrets.token_hex(8)}-01"
    with bound_contextvars(traceparent=context, trace_id=trace_id, work=work, **fields):
        yield
