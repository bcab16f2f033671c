"""PostgreSQL as a store: inbox, outbox and the answers of idempotent requests are tables beside a service's own."""

from contextlib import AbstractContextManager
from datetime import datetime
from types import ModuleType
from uuid import UUID

from sqlalchemy import Table, delete
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chassis.messaging.relay import Source
from chassis.storage import idempotency_keys, inbox, outbox, postgres
from chassis.storage.outbox import TableSource
from chassis.storage.postgres import Database


class SQLStore:
    """One PostgreSQL database: its inbox and outbox are tables of it."""

    # A pool that had no connection in time raises SQLAlchemy's own TimeoutError.
    unavailable: tuple[type[Exception], ...] = (OperationalError, PoolTimeout)

    def __init__(self, database: Database, name: str, events: Table | None = None) -> None:
        """events: a table with the outbox's columns that serves as one, and of which nothing is ever deleted."""
        self.database = database
        self._has_outbox = events is None
        self.source: Source = TableSource(database, outbox.outbox if events is None else events, name)

    def migrate(self, package: ModuleType) -> None:
        from chassis.storage import migrate

        migrate.upgrade(package, self.database.url)

    def transaction(self) -> AbstractContextManager[None]:
        return self.database.transaction()

    def first_time(self, message_id: UUID) -> bool:
        return inbox.first_time(message_id)

    def purge(self, before: datetime) -> None:
        session = postgres.session()
        session.execute(delete(inbox.inbox).where(inbox.inbox.c.received_at < before))
        session.execute(delete(idempotency_keys.answers).where(idempotency_keys.answers.c.created_at < before))
        if self._has_outbox:
            session.execute(delete(outbox.outbox).where(outbox.outbox.c.sent_at < before))

    def check(self) -> None:
        self.database.check()
