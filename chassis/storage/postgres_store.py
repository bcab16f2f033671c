"""PostgreSQL as a store."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import ModuleType
from typing import TypeVar
from uuid import UUID

from sqlalchemy import Table
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chassis.messaging.relay import Source
from chassis.storage import inbox, outbox, postgres, rows
from chassis.storage.idempotency_keys import idempotency_keys
from chassis.storage.outbox import TableSource
from chassis.storage.postgres import Database
from chassis.storage.postgres_trail import PostgresTrail
from chassis.storage.replica import Late, Replica
from chassis.storage.trail import Trail

T = TypeVar("T")


class PostgresStore(Database):
    unavailable: tuple[type[Exception], ...] = (OperationalError, PoolTimeout)

    def __init__(self, url: str, pool_size: int, name: str, events: Table | None = None) -> None:
        """events: replaces the outbox and is never purged."""
        super().__init__(url, pool_size)
        self._pool_size = pool_size
        self.trail: Trail = PostgresTrail()
        self._has_outbox = events is None
        self.source: Source = TableSource(self, outbox.outbox if events is None else events, name)
        self._replica: Replica | None = None

    def use_replica(self, url: str, redis_url: str, service: str, max_lag_seconds: float) -> None:
        self._replica = Replica(Database(url, self._pool_size), self, redis_url, service, max_lag_seconds)

    def read(self, caller: str, work: Callable[[], T]) -> T:
        if self._replica is not None:
            try:
                return self._replica.read(caller, work)
            except (Late, SQLAlchemyError):
                pass  # counted and logged there; a mistake of ours meets the primary, too
        with self.transaction():
            return work()

    def note_write(self, caller: str) -> None:
        if self._replica is not None and caller:
            self._replica.note_write(caller)

    def close(self) -> None:
        super().close()
        if self._replica is not None:
            self._replica.close()

    def migrate(self, package: ModuleType) -> None:
        from chassis.storage import migrate

        migrate.upgrade(package, self.url)

    def is_migrated(self, package: ModuleType) -> bool:
        from chassis.storage import migrate

        return migrate.is_applied(package, self.url)

    @contextmanager
    def handling(self) -> Iterator[None]:
        with self.transaction(), rows.unit():
            yield

    def first_times(self, message_ids: Iterable[UUID]) -> set[UUID]:
        return inbox.first_times(message_ids)

    def purge(self, before: datetime) -> bool:
        more = [
            postgres.purge(inbox.inbox, inbox.inbox.c.received_at < before),
            postgres.purge(idempotency_keys, idempotency_keys.c.created_at < before),
            self._has_outbox and postgres.purge(outbox.outbox, outbox.outbox.c.sent_at < before),
        ]
        return any(more)
