"""Sends what is unsent in a store, each message at least once: publish with a confirm, then mark. Receivers absorb what comes twice."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from structlog import get_logger
from structlog.contextvars import bound_contextvars

from chassis.base import telemetry
from chassis.messaging.envelope import Envelope

log = get_logger(__name__)

TASK_PREFIX = "task."
"""What is unsent and has a type that starts so is a Celery task, the rest are messages."""

BATCH = 100
MAX_BATCH_SECONDS = 5.0
"""A slow broker must not hold the rows for longer than a transaction may be idle."""


def meta(version: int = 1) -> dict[str, Any]:
    """What a stored message remembers beside its data: the data's version, and the trace of the work that wrote it."""
    return {"traceparent": telemetry.traceparent(), "schema": version}


def version(meta: dict[str, Any]) -> int:
    """Of the data beside this `meta`. What was stored before messages had versions is of the first."""
    stored: int = meta.get("schema", 1)
    return stored


@dataclass
class Batch:
    """Unsent envelopes, oldest first, held for one relay; it tells by `sent` which of them are on their way."""

    unsent: list[Envelope]
    sent: list[Envelope] = field(default_factory=list)


class Source(Protocol):
    """Where unsent messages are: the outbox table, or documents."""

    def unsent(self) -> AbstractContextManager[Batch]:
        """Up to BATCH envelopes. Leaving the block, also by an exception, marks those that were sent."""
        ...

    def wait(self, timeout_seconds: float) -> None:
        """Return when something may be unsent, or after the timeout."""
        ...

    def wake(self) -> None:
        """Make `wait` return soon."""
        ...


class Relay:
    """Sends what is unsent, for ever."""

    def __init__(self, source: Source, send: Callable[[Envelope], None], poll_seconds: float = 1.0) -> None:
        self.source = source
        self.send = send
        self.poll_seconds = poll_seconds

    def send_batch(self) -> int:
        """Send what is unsent now; how many that were. Raises what the broker raises for the one that it did not take."""
        until = time.monotonic() + MAX_BATCH_SECONDS
        with self.source.unsent() as batch:
            for envelope in batch.unsent:
                self.send(envelope)
                batch.sent.append(envelope)
                telemetry.MESSAGES_SENT.labels(envelope.type).inc()
                if time.monotonic() > until:
                    break
        return len(batch.sent)

    def run(self, stopping: threading.Event) -> None:
        with bound_contextvars(work="relay"):
            self._run(stopping)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                if not self.send_batch():
                    self.source.wait(self.poll_seconds)
            except Exception as error:  # the broker or the database is away: it is tried again until it is back
                log.warning("relay waits", error=repr(error))
                stopping.wait(self.poll_seconds)
