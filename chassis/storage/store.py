"""What the edges need of a database. Tests have several stores, one active."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import ModuleType
from typing import Protocol, TypeVar
from uuid import UUID

from chassis.messaging.relay import Source
from chassis.storage.trail import Trail

T = TypeVar("T")


class Store(Protocol):
    source: Source
    trail: Trail
    unavailable: tuple[type[Exception], ...]
    """Errors when unavailable."""

    def migrate(self, package: ModuleType) -> None:
        """Idempotent."""
        ...

    def is_migrated(self, package: ModuleType) -> bool:
        """Whether this code can use the schema."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Commit, unless the block raises."""
        ...

    def read(self, caller: str, work: Callable[[], T]) -> T:
        """`work()` in a transaction that only reads, perhaps where data is a little old, but has what this caller wrote."""
        ...

    def note_write(self, caller: str) -> None:
        """By HTTP, committed."""
        ...

    def handling(self) -> AbstractContextManager[None]:
        """A transaction for message handlers."""
        ...

    def first_times(self, message_ids: Iterable[UUID]) -> set[UUID]:
        """Those of messages that are new."""
        ...

    def purge(self, before: datetime) -> bool:
        """Delete some old inbox, outbox and idempotency rows; whether there may be more."""
        ...

    def check(self) -> None: ...


_REFUSED = re.compile("Unauthorized|AuthenticationFailed|authentication failed|permission denied|no pg_hba.conf entry")

_ADVICE = "Check this service's password and rights on its database; `./souk up` renews those on servers of its own."


def described(error: Exception) -> dict[str, str]:
    """For a log line. SQLAlchemy's own text would show the statement."""
    text = str(getattr(error, "orig", error)).partition("\n")[0]
    return {"error": text, "advice": _ADVICE} if _REFUSED.search(text) else {"error": text}


_active: ContextVar[Store] = ContextVar("store")


@contextmanager
def active(store: Store) -> Iterator[None]:
    token = _active.set(store)
    try:
        yield
    finally:
        _active.reset(token)


def current() -> Store:
    return _active.get()


def trail() -> Trail:
    return _active.get().trail


def transaction() -> AbstractContextManager[None]:
    return _active.get().transaction()
