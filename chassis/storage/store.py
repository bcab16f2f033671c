"""What the edges (HTTP, messages, tasks, timers) need of a database. They work on the active store; a test has several."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import ModuleType
from typing import Protocol
from uuid import UUID

from chassis.messaging.relay import Source


class Store(Protocol):
    source: Source
    unavailable: tuple[type[Exception], ...]
    """The errors it raises when it is unavailable."""

    def migrate(self, package: ModuleType) -> None:
        """Bring the schema up to date with the service in `package`. Idempotent."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Commit the block's work, or nothing if it raises."""
        ...

    def first_time(self, message_id: UUID) -> bool:
        """Whether the current transaction is the first to see this message."""
        ...

    def purge(self, before: datetime) -> None:
        """Delete old inbox, outbox and idempotency rows."""
        ...

    def check(self) -> None:
        """Raises when the store is unavailable."""
        ...


_active: ContextVar[Store] = ContextVar("store")


@contextmanager
def active(store: Store) -> Iterator[None]:
    """Make `store` the active one in the block."""
    token = _active.set(store)
    try:
        yield
    finally:
        _active.reset(token)


def transaction() -> AbstractContextManager[None]:
    """A transaction on the active store, for edges and tasks."""
    return _active.get().transaction()
