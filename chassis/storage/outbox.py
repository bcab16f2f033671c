"""Messages and tasks, stored in the caller's transaction and sent by the relay."""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import psycopg2.extensions
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    String,
    Table,
    Uuid,
    bindparam,
    func,
    update,
)
from sqlalchemy import select as sql_select
from sqlalchemy.dialects.postgresql import JSONB

from chassis.base import clock, telemetry
from chassis.messaging import relay
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.messaging.relay import TASK_PREFIX, Batch
from chassis.storage import postgres, rows

CHANNEL = "outbox"
"""Notified by a trigger on the table."""

outbox = Table(
    "outbox",
    postgres.metadata,
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


def emit(message: Message, at: datetime | None = None) -> None:
    """Send after the current transaction commits. `at`: when it happened, if not now."""
    _write(message.type, str(message.subject), message.data(), relay.meta(message.version), at)


def enqueue(task: str, row_id: UUID) -> None:
    """Run a Celery task after the current transaction commits."""
    _write(TASK_PREFIX + task, str(row_id), {}, relay.meta())


def _write(type_: str, subject: str, data: dict[str, Any], meta: dict[str, Any], at: datetime | None = None) -> None:
    row = {
        "id": uuid4(),
        "type": type_,
        "subject": subject,
        "data": data,
        "meta": meta,
        "occurred_at": at or clock.now(),
    }
    rows.add(outbox, row)


class TableSource:
    """A table with the outbox's columns; `stream` may replace `subject`."""

    def __init__(self, database: postgres.Database, table: Table, name: str) -> None:
        self.database = database
        self.table = table
        self.name = name
        self._listening: psycopg2.extensions.connection | None = None
        # Not "after the last position": positions commit out of order. SKIP LOCKED lets several relays share the work.
        self._unsent = (
            sql_select(table)
            .where(table.c.sent_at.is_(None))
            .order_by(table.c.position)
            .limit(relay.BATCH)
            .with_for_update(skip_locked=True)
        )
        are_sent = table.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid)))
        self._mark = update(table).where(are_sent).values(sent_at=bindparam("now", type_=DateTime(timezone=True)))

    @contextmanager
    def unsent(self) -> Iterator[Batch]:
        with self.database.engine.connect() as connection:
            rows = connection.execute(self._unsent).all()
            telemetry.OLDEST_UNSENT.set(rows[0].occurred_at.timestamp() if rows else 0)
            batch = Batch([self.envelope(row) for row in rows])
            try:
                yield batch
            finally:
                if batch.sent:
                    connection.execute(self._mark, {"ids": [each.id for each in batch.sent], "now": clock.now()})
                connection.commit()

    def envelope(self, row: Any) -> Envelope:
        subject = str(getattr(row, "subject", None) or row.stream)
        return Envelope(row.id, self.name, row.type, subject, row.occurred_at, row.data, *relay.origin(row.meta))

    def wait(self, timeout_seconds: float) -> None:
        try:
            if self._listening is None or self._listening.closed:
                # Commits before LISTEN were not announced: look again.
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
        """NOTIFY wakes the relay."""
