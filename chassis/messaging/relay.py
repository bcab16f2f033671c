"""Publishes unsent messages at least once: confirm, then mark."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from structlog import get_logger
from structlog.contextvars import bound_contextvars

from chassis.base import telemetry, tracing
from chassis.messaging.envelope import Envelope

log = get_logger(__name__)

TASK_PREFIX = "task."
"""Marks the type of a Celery task."""

TASK_ROWS = 16
"""The most that share a Celery message."""

PROBE_SECONDS = 5.0

BATCH = 100
MAX_BATCH_SECONDS = 5.0
"""The batch holds row locks: less than a transaction may be idle."""


def meta(version: int = 1) -> dict[str, Any]:
    """Stored beside a message's data."""
    return {
        "traceparent": tracing.traceparent(),
        "correlation_id": tracing.correlation_id(),
        "schema": version,
    }


def version(meta: dict[str, Any]) -> int:
    """1 if written before messages had versions."""
    stored: int = meta.get("schema", 1)
    return stored


def origin(meta: dict[str, Any]) -> tuple[str, int, str]:
    """An envelope's last fields."""
    return meta.get("traceparent", ""), version(meta), meta.get("correlation_id", "")


@dataclass
class Batch:
    """Oldest first. The relay adds confirmed envelopes to `sent`."""

    unsent: list[Envelope]
    sent: list[Envelope] = field(default_factory=list)


class Source(Protocol):
    def unsent(self) -> AbstractContextManager[Batch]:
        """Up to BATCH. On exit, even by an exception, marks `sent`."""
        ...

    def wait(self, timeout_seconds: float) -> None:
        """Until something may be unsent."""
        ...

    def wake(self) -> None: ...


Send = Callable[[Sequence[Envelope]], Iterable[Envelope]]
"""Yields each once it is confirmed; raises in the end unless all were."""


class Relay:
    def __init__(
        self,
        source: Source,
        send: Send,
        probe: Callable[[], None] = lambda: None,
        poll_seconds: float = 1.0,
    ) -> None:
        """probe: called when idle; raises when `send` would."""
        self.source = source
        self.send = send
        self.probe = probe
        self.poll_seconds = poll_seconds
        self._sent: set[UUID] = set()
        """Perhaps not marked: a database that takes no writes must not make us send them again and again."""
        self._error: Exception | None = None
        self._probe_at = 0.0

    def check(self) -> None:
        """Raises the last error until sending works."""
        if self._error is not None:
            raise self._error

    def send_batch(self) -> int:
        """The number sent. Raises `send`'s error."""
        until = time.monotonic() + MAX_BATCH_SECONDS
        with self.source.unsent() as batch:
            batch.sent += [envelope for envelope in batch.unsent if envelope.id in self._sent]
            unsent = [envelope for envelope in batch.unsent if envelope.id not in self._sent]
            for envelope in self.send(unsent) if unsent else ():
                self._sent.add(envelope.id)
                telemetry.MESSAGES_SENT.labels(envelope.type).inc()
                batch.sent.append(envelope)
                if time.monotonic() > until:
                    break
        self._sent.clear()
        return len(batch.sent)

    def run(self, stopping: threading.Event) -> None:
        with bound_contextvars(work="relay"):
            self._run(stopping)

    def _run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                sent = self.send_batch()
                if sent or self._probe_at <= time.monotonic():
                    if not sent:
                        self.probe()
                    self._probe_at = time.monotonic() + PROBE_SECONDS
                self._error = None
                if sent < BATCH:
                    # Whatever was committed meanwhile has been announced.
                    self.source.wait(self.poll_seconds)
            except Exception as error:  # keep trying
                self._error, self._probe_at = error, 0.0
                log.warning("relay failed", error=repr(error))
                stopping.wait(self.poll_seconds)
