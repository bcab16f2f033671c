"""PostgreSQL: edges open a transaction; code below uses `session()` and never commits."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from select import POLLIN, POLLOUT, poll
from typing import Any, cast
from uuid import UUID

import psycopg2
from psycopg2 import extensions
from psycopg2.errors import InsufficientPrivilege, ReadOnlySqlTransaction
from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    DateTime,
    Engine,
    ExceptionContext,
    MetaData,
    QueuePool,
    Uuid,
    any_,
    create_engine,
    delete,
    event,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DisconnectionError, OperationalError
from sqlalchemy.orm import Session, SessionTransaction
from structlog import get_logger

from chassis.base import deadline
from chassis.storage import metrics

log = get_logger(__name__)

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
        # Ends the statement of a client that has given up.
        "-c client_connection_check_interval=1s",
        "-c timezone=UTC",
    )
)

POOL_SECONDS = 5.0

CONNECT_SECONDS = 3.0

STATEMENT_SECONDS = 12.0
"""Longer than the server's own limit: beyond it the server hangs."""

CHECK_SECONDS = 1.5
"""Less than a probe's timeout."""

GRACE_SECONDS = 0.1
"""For the server's own cancellation at the deadline, which keeps the connection."""

_ESTABLISHED = (extensions.STATUS_READY, extensions.STATUS_BEGIN, extensions.STATUS_PREPARED)


class _Connection(extensions.connection):
    """Its waits end; migrations have others."""


def _wait(connection: extensions.connection) -> None:
    """Psycopg2's wait callback: a hung server keeps nobody beyond the deadline. What it raises closes the connection."""
    state = connection.poll()
    if state == extensions.POLL_OK:
        return
    waiter, started = poll(), time.monotonic()
    is_query = isinstance(connection, _Connection) and connection.status in _ESTABLISHED
    until = started + _seconds(connection) if isinstance(connection, _Connection) else None
    try:
        while state != extensions.POLL_OK:
            waiter.register(connection.fileno(), POLLIN if state == extensions.POLL_READ else POLLOUT)
            if not waiter.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000):
                raise psycopg2.OperationalError("The server did not respond in time.")
            state = connection.poll()
    finally:
        if is_query:
            metrics.QUERY_SECONDS.observe(time.monotonic() - started)


def _seconds(connection: _Connection) -> float:
    seconds = STATEMENT_SECONDS if connection.status in _ESTABLISHED else CONNECT_SECONDS
    remaining = deadline.remaining()
    if remaining is not None:
        seconds = min(seconds, remaining + GRACE_SECONDS)
    return seconds


extensions.set_wait_callback(_wait)


class _Pool(QueuePool):
    """Waits for a connection no longer than the deadline."""

    @property
    def _timeout(self) -> float:
        remaining = deadline.remaining()
        return POOL_SECONDS if remaining is None else min(POOL_SECONDS, remaining)

    @_timeout.setter
    def _timeout(self, seconds: float) -> None:
        """Set by the base class."""


IDLE_SECONDS = 1.0
"""After which a connection may have died unnoticed."""


class Database:
    """Connects at first use."""

    def __init__(self, url: str, pool_size: int = 8) -> None:
        self.url = url
        self.engine: Engine = create_engine(
            url.replace("postgresql://", "postgresql+psycopg2://", 1),
            pool_size=pool_size,
            max_overflow=4,
            # One that was just used needs no ping, and has its statements prepared.
            pool_use_lifo=True,
            poolclass=_Pool,
            # Keeps personal data out of errors and logs.
            hide_parameters=True,
            connect_args={"options": _SESSION_OPTIONS, "connection_factory": _Connection},
        )
        _ping_after_idling(self.engine)
        event.listen(self.engine, "handle_error", _refusals_are_unavailability)

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
        for _, call in opened.info.get(_AFTER_COMMIT, ()):
            try:
                call()
            except Exception:  # what is committed stands, and the other calls are to be made
                log.exception("call after commit failed")

    def check(self) -> None:
        with deadline.within(CHECK_SECONDS), self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def listen(self, channel: str) -> extensions.connection:
        """A connection outside the pool."""
        connection = psycopg2.connect(
            self.url,
            connection_factory=_Connection,
            # Nothing is sent here: TCP alone would take hours to detect a vanished peer.
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {channel}")
        return connection

    def close(self) -> None:
        self.engine.dispose()


def _ping_after_idling(engine: Engine) -> None:
    """No errors after a database restart. At each checkout, as SQLAlchemy does, it costs 0.1 ms."""

    @event.listens_for(engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("idle_since", math.inf) > IDLE_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except psycopg2.Error as error:
                raise DisconnectionError from error


def _refusals_are_unavailability(context: ExceptionContext) -> None:
    """Connect anew, perhaps to the new primary, or with the rights given since."""
    error = context.original_exception
    if isinstance(error, (ReadOnlySqlTransaction, InsufficientPrivilege)):
        context.is_disconnect = True
        raise OperationalError(context.statement, None, error, hide_parameters=True, connection_invalidated=True)


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


_AFTER_COMMIT = "after_commit"

_session: ContextVar[Session | None] = ContextVar("session", default=None)
_before_session: ContextVar[Callable[[], None] | None] = ContextVar("before_session", default=None)


def session() -> Session:
    if (prepare := _before_session.get()) is not None:
        prepare()
    return _opened()


def connection() -> Connection:
    """The transaction's, for statements beside the session's."""
    return _opened().connection()


def after_commit(call: Callable[[], object]) -> None:
    """Not called for what is rolled back, such as the first try of a batch. Errors are logged."""
    session = _opened()
    session.info.setdefault(_AFTER_COMMIT, []).append((session.get_nested_transaction(), call))


@event.listens_for(Session, "after_soft_rollback")
def _drop_calls(session: Session, rolled_back: SessionTransaction) -> None:
    """Of a savepoint."""
    if calls := session.info.get(_AFTER_COMMIT):
        session.info[_AFTER_COMMIT] = [each for each in calls if each[0] is not rolled_back]


@contextmanager
def before_session(prepare: Callable[[], None]) -> Iterator[None]:
    """Call it before each use of the session."""
    token = _before_session.set(prepare)
    try:
        yield
    finally:
        _before_session.reset(token)


def _opened() -> Session:
    current = _session.get()
    if current is None:
        raise RuntimeError("No transaction is open: this code runs below an edge of the chassis.")
    return current
