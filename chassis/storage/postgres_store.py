"""PostgreSQL as a store."""

from datetime import datetime
from types import ModuleType
from uuid import UUID

from sqlalchemy import Table, delete
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chassis.messaging.relay import Source
from chassis.storage import inbox, outbox, postgres
from chassis.storage.idempotency_keys import idempotency_keys
from chassis.storage.outbox import TableSource
from chassis.storage.postgres import Database


class PostgresStore(Database):
    unavailable: tuple[type[Exception], ...] = (OperationalError, PoolTimeout)

    def __init__(self, url: str, pool_size: int, name: str, events: Table | None = None) -> None:
        """events: replaces the outbox and is never purged."""
        super().__init__(url, pool_size)
        self._has_outbox = events is None
        self.source: Source = TableSource(self, outbox.outbox if events is None else events, name)

    def migrate(self, package: ModuleType) -> None:
        from chassis.storage import migrate

        migrate.upgrade(package, self.url)

    def first_time(self, message_id: UUID) -> bool:
        return inbox.first_time(message_id)

    def purge(self, before: datetime) -> None:
        session = postgres.session()
        session.execute(delete(inbox.inbox).where(inbox.inbox.c.received_at < before))
        session.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < before))
        if self._has_outbox:
            session.execute(delete(outbox.outbox).where(outbox.outbox.c.sent_at < before))
