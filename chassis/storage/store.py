"""Where a service keeps its data, as the edges see it: a transaction, an inbox and a source of unsent messages.

The edges (HTTP, messages, tasks, timers) work for the store that is active; a process has one, a test several.
"""

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

    def purge(self, before: datetime) -> None:
        """Delete inbox, outbox and idempotency rows from before this moment, in the current transaction."""
        ...

    def check(self) -> None:
        """Raises when the store does not answer."""
        ...


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
