"""PostgreSQL: edges open a transaction; code below uses `session()` and never commits."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import psycopg2
import psycopg2.extensions
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    DateTime,
    Engine,
    MetaData,
    Uuid,
    any_,
    create_engine,
    delete,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from chassis.base import deadline

metadata = MetaData()
"""The chassis's own tables."""

COLUMN_TYPES = {
    datetime: DateTime(timezone=True),
    UUID: Uuid(),
    dict[str, Any]: JSONB(),
}
"""For `type_annotation_map`."""

_SESSION_OPTIONS = " ".join(
    (
        "-c statement_timeout=10s",
        "-c lock_timeout=5s",
        "-c idle_in_transaction_session_timeout=30s",
        "-c timezone=UTC",
    )
)

_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 3,
    # TCP alone takes 15 minutes to detect a vanished peer.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Database:
    """Connects at first use."""

    def __init__(self, url: str, pool_size: int = 8) -> None:
        self.url = url
        self.engine: Engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg2://", 1),
            # No errors after a database restart, for 0.1 ms.
            pool_pre_ping=True,
            pool_size=pool_size,
            max_overflow=4,
            pool_timeout=5,
            # Keeps personal data out of errors and logs.
            hide_parameters=True,
            connect_args={**_TIMEOUTS, "options": _SESSION_OPTIONS},
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit, unless the block raises."""
        if _session.get() is not None:
            raise RuntimeError("A transaction is already open: only the edge opens one.")
        with Session(self.engine, expire_on_commit=False) as opened:
            token = _session.set(opened)
            try:
                _limit_statements(opened)
                yield
                opened.commit()
            finally:
                _session.reset(token)

    def check(self) -> None:
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def listen(self, channel: str) -> psycopg2.extensions.connection:
        """A connection outside the pool."""
        connection = psycopg2.connect(self.url, **_TIMEOUTS)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {channel}")
        return connection

    def close(self) -> None:
        self.engine.dispose()


def _limit_statements(opened: Session) -> None:
    """Only for a caller's deadline: it costs a round trip."""
    seconds = deadline.callers_remaining()
    if seconds is not None:
        opened.execute(text(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"))


PURGE_BATCH = 5_000
"""Well within the statement timeout, and short for other transactions."""


def purge(table: Any, *old: ColumnElement[bool]) -> bool:
    """Delete up to PURGE_BATCH rows; whether there may be more."""
    ctid: ColumnElement[Any] = literal_column("ctid")
    some = select(ctid).select_from(table).where(*old).limit(PURGE_BATCH)
    deleted = session().execute(delete(table).where(ctid == any_(func.array(some.scalar_subquery()))))
    return cast("CursorResult[Any]", deleted).rowcount == PURGE_BATCH


_session: ContextVar[Session | None] = ContextVar("session", default=None)


def session() -> Session:
    current = _session.get()
    if current is None:
        raise RuntimeError("No transaction is open: this code runs below an edge of the chassis.")
    return current
