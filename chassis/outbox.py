"""Messages and tasks leave only as rows of the caller's transaction; the relay sends them after it.

A row is sent at least once: the relay publishes with confirms, then marks. Receivers absorb what comes twice.
"""

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid4

import psycopg2
import psycopg2.extensions
from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, String, Table, Uuid, insert, update
from sqlalchemy import select as sql_select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import SQLAlchemyError
from structlog import get_logger
from structlog.contextvars import bound_contextvars

from chassis import db, telemetry
from chassis.messages import Envelope, Message

log = get_logger(__name__)

TASK_PREFIX = "task."
"""Rows whose type starts so are Celery tasks, the rest are messages."""

CHANNEL = "outbox"
"""NOTIFY channel by which a commit wakes the relay; a trigger on the table speaks on it."""

BATCH = 100
LONGEST_BATCH_SECONDS = 5.0
"""A slow broker must not hold the rows for longer than a transaction may be idle."""

outbox = Table(
    "outbox",
    db.metadata,
    Column("position", BigInteger, Identity(), primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column("type", String(100), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("data", JSONB, nullable=False),
    Column("meta", JSONB, nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("sent_at", DateTime(timezone=True)),
)
Index("outbox_unsent", outbox.c.position, postgresql_where=outbox.c.sent_at.is_(None))


def meta() -> dict[str, Any]:
    """What a row remembers of the work that wrote it."""
    return {"traceparent": telemetry.traceparent()}


def emit(message: Message) -> None:
    """Send `message` if, and only after, the present transaction commits."""
    _write(message.type, str(message.subject), message.data())


def enqueue(task: str, row_id: UUID) -> None:
    """Run the Celery task `task` on the row `row_id` if, and only after, the present transaction commits."""
    _write(TASK_PREFIX + task, str(row_id), {})


def _write(type_: str, subject: str, data: dict[str, Any]) -> None:
    row = {
        "id": uuid4(),
        "type": type_,
        "subject": subject,
        "data": data,
        "meta": meta(),
        "occurred_at": db.now(),
    }
    db.session().execute(insert(outbox).values(row))


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


class TableSource:
    """Unsent rows of a table with the outbox's columns (orders passes its event table)."""

    def __init__(self, database: db.Database, table: Table, name: str) -> None:
        self.database = database
        self.table = table
        self.name = name
        self._listening: psycopg2.extensions.connection | None = None

    @contextmanager
    def unsent(self) -> Iterator[Batch]:
        table = self.table
        # Never "last position seen": positions commit out of order. SKIP LOCKED lets several relays share the work.
        query = (
            sql_select(table)
            .where(table.c.sent_at.is_(None))
            .order_by(table.c.position)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        with self.database.engine.connect() as connection:
            rows = connection.execute(query).all()
            telemetry.OUTBOX_AGE.set((db.now() - rows[0].occurred_at).total_seconds() if rows else 0)
            batch = Batch([self._envelope(row) for row in rows])
            try:
                yield batch
            finally:
                if batch.sent:
                    sent = table.c.id.in_([envelope.id for envelope in batch.sent])
                    connection.execute(update(table).where(sent).values(sent_at=db.now()))
                connection.commit()

    def _envelope(self, row: Any) -> Envelope:
        subject = str(getattr(row, "subject", None) or row.stream)
        context = row.meta.get("traceparent", "")
        return Envelope(row.id, self.name, row.type, subject, row.occurred_at, row.data, context)

    def wait(self, timeout_seconds: float) -> None:
        try:
            if self._listening is None or self._listening.closed:
                # Anything committed before LISTEN took effect was not announced: look once more at once.
                self._listening = self.database.listen(CHANNEL)
                return
            readable, _, _ = select.select([self._listening], [], [], timeout_seconds)
            if readable:
                self._listening.poll()
                self._listening.notifies.clear()
        except psycopg2.Error:
            self._listening = None
            raise

    def wake(self) -> None:
        """Nothing to do: the commit's NOTIFY wakes the relay."""


class Relay:
    """Sends what is unsent, for ever."""

    def __init__(self, source: Source, send: Callable[[Envelope], None], poll_seconds: float = 1.0) -> None:
        self.source = source
        self.send = send
        self.poll_seconds = poll_seconds

    def send_batch(self) -> int:
        """Send what is unsent now; how many that were. Raises what the broker raises for the one that it did not take."""
        until = time.monotonic() + LONGEST_BATCH_SECONDS
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
                log.warning("relay waits", error=repr(error), database=isinstance(error, SQLAlchemyError))
                stopping.wait(self.poll_seconds)
