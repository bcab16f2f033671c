"""Where a service keeps its data, as the edges see it: a transaction, an inbox and a source of unsent messages.

The edges (HTTP, messages, tasks, timers) work for the store that is active; a process has one, a test several.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Protocol
from uuid import UUID

from sqlalchemy import Table
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from chassis import inbox
from chassis.db import Database
from chassis.outbox import Source, TableSource


class Store(Protocol):
    source: Source
    unavailable: tuple[type[Exception], ...]
    """The errors by which it says that it is away."""

    def migrate(self, package: ModuleType) -> None:
        """Bring the schema to what the service in `package` declares. Idempotent."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Keep everything done in the block, or, if it raises, nothing."""
        ...

    def first_time(self, message_id: UUID) -> bool:
        """Whether the present transaction is the first to see this message."""
        ...

    def check(self) -> None:
        """Raises when the store does not answer."""
        ...


class SQLStore:
    """One PostgreSQL database: its inbox and outbox are tables of it."""

    # A pool that had no connection in time raises SQLAlchemy's own TimeoutError.
    unavailable: tuple[type[Exception], ...] = (OperationalError, PoolTimeout)

    def __init__(self, database: Database, outbox: Table, name: str) -> None:
        self.database = database
        self.source: Source = TableSource(database, outbox, name)

    def migrate(self, package: ModuleType) -> None:
        from chassis import migrate

        migrate.upgrade(package, self.database.url)

    def transaction(self) -> AbstractContextManager[None]:
        return self.database.transaction()

    def first_time(self, message_id: UUID) -> bool:
        return inbox.first_time(message_id)

    def check(self) -> None:
        self.database.check()


_active: ContextVar[Store] = ContextVar("store")


@contextmanager
def active(store: Store) -> Iterator[None]:
    """Work in the block is done for `store`."""
    token = _active.set(store)
    try:
        yield
    finally:
        _active.reset(token)


def transaction() -> AbstractContextManager[None]:
    """A transaction on the active store, for edges and for tasks, which call third parties between two of them."""
    return _active.get().transaction()
