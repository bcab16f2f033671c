"""PostgreSQL for one service: the only session and the only commit.

One request, message or task is one transaction. The edges of the chassis open it with `transaction()`; code below uses
`session()` and never commits.
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
"""Tables that the chassis keeps in every service's own database."""

COLUMN_TYPES = {
    datetime: DateTime(timezone=True),
    UUID: Uuid(),
    dict[str, Any]: JSONB(),
}
"""How annotations of a model become columns; each service's declarative base takes it as its `type_annotation_map`."""

_SESSION_OPTIONS = " ".join(
    (
        # Nothing may wait for ever: a statement, a lock, or a transaction whose process hangs.
        "-c statement_timeout=10s",
        "-c lock_timeout=5s",
        "-c idle_in_transaction_session_timeout=30s",
        "-c timezone=UTC",
    )
)

_PATIENCE: dict[str, Any] = {
    "connect_timeout": 3,
    # A peer that vanished without a word is given up after 10 s, not when TCP's own patience ends after 15 minutes.
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Database:
    """The database of one service. Connects at first use."""

    def __init__(self, url: str, pool_size: int = 8) -> None:
        self.url = url
        self.engine: Engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg2://", 1),
            # Pinging a connection before use costs 0.1 ms and spares callers the error after a database restart.
            pool_pre_ping=True,
            pool_size=pool_size,
            max_overflow=4,
            pool_timeout=5,
            # An error's text must not carry a row's values, which may be a person's, into the logs.
            hide_parameters=True,
            connect_args={**_PATIENCE, "options": _SESSION_OPTIONS},
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep everything done in the block, or, if it raises, nothing."""
        if _session.get() is not None:
            raise RuntimeError("A transaction is already open: only the edge opens one.")
        with Session(self.engine, expire_on_commit=False) as opened:
            token = _session.set(opened)
            try:
                _bound_statements(opened)
                yield
                opened.commit()
            finally:
                _session.reset(token)

    def check(self) -> None:
        """Raises when the database does not answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def listen(self, channel: str) -> psycopg2.extensions.connection:
        """A connection of its own, outside the pool, that is told of every NOTIFY on `channel`."""
        connection = psycopg2.connect(self.url, **_PATIENCE)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {channel}")
        return connection

    def close(self) -> None:
        self.engine.dispose()


def _bound_statements(opened: Session) -> None:
    """No statement goes on when the one who called us has given up. Costs a round trip, so only where somebody did say."""
    seconds = deadline.callers_remaining()
    if seconds is not None:
        opened.execute(text(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"))


_session: ContextVar[Session | None] = ContextVar("session", default=None)


def session() -> Session:
    """The session of the transaction that the edge opened for this request, message or task."""
    current = _session.get()
    if current is None:
        raise RuntimeError("No transaction is open: this code runs below an edge of the chassis.")
    return current
