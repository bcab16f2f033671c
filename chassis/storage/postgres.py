"""PostgreSQL for one service: the only session and the only commit.

The edges open a transaction per request, message or task; code below uses `session()` and never commits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg2
import psycopg2.extensions
from sqlalchemy import DateTime, Engine, MetaData, Uuid, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from chassis.base import deadline

metadata = MetaData()
"""The chassis's own tables in every service's database."""

COLUMN_TYPES = {
    datetime: DateTime(timezone=True),
    UUID: Uuid(),
    dict[str, Any]: JSONB(),
}
"""The `type_annotation_map` of each service's declarative base."""

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
    # Detects a vanished peer after 10 s; TCP alone takes 15 minutes.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Database:
    """A database. Connects at first use."""

    def __init__(self, url: str, pool_size: int = 8) -> None:
        self.url = url
        self.engine: Engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg2://", 1),
            # 0.1 ms a use, and no errors after a database restart.
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
        """Commit the block's work, or nothing if it raises."""
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
        """Raises when the database is unavailable."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def listen(self, channel: str) -> psycopg2.extensions.connection:
        """A connection outside the pool that receives every NOTIFY on `channel`."""
        connection = psycopg2.connect(self.url, **_TIMEOUTS)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {channel}")
        return connection

    def close(self) -> None:
        self.engine.dispose()


def _limit_statements(opened: Session) -> None:
    """End statements at the caller's deadline, if any: it costs a round trip."""
    seconds = deadline.callers_remaining()
    if seconds is not None:
        opened.execute(text(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"))


_session: ContextVar[Session | None] = ContextVar("session", default=None)


def session() -> Session:
    """The session of the current transaction."""
    current = _session.get()
    if current is None:
        raise RuntimeError("No transaction is open: this code runs below an edge of the chassis.")
    return current
