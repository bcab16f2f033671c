"""Publishes a store's unsent messages at least once each: publish with a confirm, then mark as sent."""

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
"""The type of an unsent Celery task starts so."""

PROBE_SECONDS = 5.0

BATCH = 100
MAX_BATCH_SECONDS = 5.0
"""Less than a transaction may be idle, however slow the broker is: the batch holds row locks."""


def meta(version: int = 1) -> dict[str, Any]:
    """What is stored beside a message's data: the version of the data, and the trace of the work that wrote it."""
    return {"traceparent": telemetry.traceparent(), "schema": version}


def version(meta: dict[str, Any]) -> int:
    """Of the data stored beside this `meta`; 1 if it was written before messages had versions."""
    stored: int = meta.get("schema", 1)
    return stored


@dataclass
class Batch:
    """Unsent envelopes, oldest first, held for one relay, which adds to `sent` what the broker confirmed."""

    unsent: list[Envelope]
    sent: list[Envelope] = field(default_factory=list)


class Source(Protocol):
    """Where unsent messages are: a table or documents."""

    def unsent(self) -> AbstractContextManager[Batch]:
        """Up to BATCH envelopes. On leaving the block, also by an exception, those in `sent` are marked."""
        ...

    def wait(self, timeout_seconds: float) -> None:
        """Return when something may be unsent, or after the timeout."""
        ...

    def wake(self) -> None:
        """Make `wait` return soon."""
        ...


class Relay:
    def __init__(
        self,
        source: Source,
        send: Callable[[Envelope], None],
        probe: Callable[[], None] = lambda: None,
        poll_seconds: float = 1.0,
    ) -> None:
        """probe: raises when `send` could not; called while there is nothing to send."""
        self.source = source
        self.send = send
        self.probe = probe
        self.poll_seconds = poll_seconds
        self._error: Exception | None = None
        self._probe_at = 0.0

    def check(self) -> None:
        """Raises the last error, until sending works again."""
        if self._error is not None:
            raise self._error

    def send_batch(self) -> int:
        """Send up to BATCH messages; gives their number. Raises `send`'s error for the first that was not confirmed."""
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
                if self.send_batch():
                    self._probe_at = time.monotonic() + PROBE_SECONDS
                elif self._probe_at <= time.monotonic():
                    self.probe()
                    self._probe_at = time.monotonic() + PROBE_SECONDS
                else:
                    self.source.wait(self.poll_seconds)
                self._error = None
            except Exception as error:  # the broker or the database is unavailable; keep trying
                self._error, self._probe_at = error, 0.0
                log.warning("relay failed", error=repr(error))
                stopping.wait(self.poll_seconds)
