"""Moves a user's orders to another shard, while all others go on.

Each step is in one database, of transactions that may be repeated, so that a move that was killed anywhere goes on from the map.

    begin    home    the map says where to
    ahead    target  ids of messages that the source has handled, in batches
    close    source  a fence: no more events of this user
    drain    source  what was to be sent is sent
    copy     target  everything of the user, compared before the commit; a fence, so that nothing happens here yet
    switch   home    the map leads to the target
    open     target  no fence: what the user's orders emit from now on is answered to where the map leads
    leave    source  everything of the user goes, and their sales with it; the fence stays, and the ids of their orders
    end      home    the move is over

What cannot be done before the switch, or is aborted, turns back: the map says that the user leaves the target, the source opens, and
what has arrived goes as after any move.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from structlog.contextvars import bound_contextvars

from chassis.base import clock
from chassis.base.problems import Conflict, NotFound
from services.orders.models.analytics import COUNTED, TABLES, Sums
from services.orders.models.events import read
from services.orders.rebuild import LOCK
from services.orders.sharding.shards import AN_ID, FENCE_LOCK, NotPrepared, Shards, WrongShard, expect_prepared

DRAIN_SECONDS = 30.0
"""For the relay to send what the user's orders have emitted. Meanwhile the user's writes are refused."""

LINGER_SECONDS = 60.0
"""Between switch and leave: who looked at the map before reads at the source for no longer."""

LATE = timedelta(minutes=5)
"""A message may be committed so long after it was received."""

BATCH = 500
IDS = 5_000
POLL_SECONDS = 0.05

OWNED = {
    "orders": "user_id = :user",
    "events": "stream IN (SELECT id FROM orders WHERE user_id = :user)",
    # A refund is asked for by staff, with a key of theirs: it stays with the order, wherever they are.
    "idempotency": f"CASE WHEN lower(route) ~ '{AN_ID}' THEN substring(lower(route) from '{AN_ID}') IN"  # noqa: S608 - ours
    " (SELECT CAST(id AS text) FROM orders WHERE user_id = :user) ELSE caller = CAST(:user AS text) END",
    "operator_actions": "subject IN (SELECT CAST(id AS text) FROM orders WHERE user_id = :user)",
}
"""A user's rows, by table, in the order in which they are copied."""

KEYS = {
    "orders": "id",
    "events": "stream, version",
    "idempotency": "caller, route, key_hash",
    "operator_actions": "id",
}

OF_THE_SHARD = ("position", "transaction_id")
"""Columns that each database counts for itself."""

_CLAIM_SECONDS = 3
"""For the connection of a mover that was killed to go."""

_IS_LOCKED = "55P03"
"""PostgreSQL: lock_not_available."""

_PATIENCE = text(f"SET lock_timeout = '{_CLAIM_SECONDS}s'")
_CLAIM = text("SELECT pg_advisory_lock(hashtextextended('move ' || CAST(:user AS text), 57))")
_STATE = text("SELECT shard, moving_to, leaving, move FROM shard_map WHERE user_id = :user")
_BEGIN = text(
    "INSERT INTO shard_map (user_id, shard, moving_to, move) VALUES (:user, :home, :to, :move)"
    " ON CONFLICT (user_id) DO UPDATE SET moving_to = :to, move = :move WHERE shard_map.move IS NULL"
)
_SWITCH = text(
    "UPDATE shard_map SET shard = moving_to, leaving = shard, moving_to = NULL WHERE move = :move AND moving_to IS NOT NULL"
)
_END = text("UPDATE shard_map SET leaving = NULL, move = NULL WHERE move = :move AND leaving = :source")
_TURN_BACK = text(
    "UPDATE shard_map SET leaving = moving_to, moving_to = NULL WHERE move = :move AND moving_to IS NOT NULL"
)
"""As if it came from where it was to go: what has arrived there goes as after any move."""

_FENCE = text("INSERT INTO shard_fences VALUES (:user, :move) ON CONFLICT (user_id) DO UPDATE SET move = excluded.move")
_OPEN = text("DELETE FROM shard_fences WHERE user_id = :user AND move = :move")
_OPEN_TO_COPY = text("DELETE FROM shard_fences WHERE user_id = :user")
_UNSENT = text(f"SELECT EXISTS (SELECT 1 FROM events WHERE sent_at IS NULL AND {OWNED['events']})")  # noqa: S608 - ours
_HAS_ARRIVED = text("SELECT EXISTS (SELECT 1 FROM shard_arrivals WHERE move = :move)")
_ARRIVED = text("INSERT INTO shard_arrivals VALUES (:move, :user)")
_ARRIVES_NO_MORE = text("INSERT INTO shard_arrivals VALUES (:move, :user) ON CONFLICT DO NOTHING")
_DEPARTS = text(
    "INSERT INTO shard_departures SELECT id, user_id FROM orders WHERE user_id = :user ON CONFLICT DO NOTHING"
)
_IS_BACK = text("DELETE FROM shard_departures WHERE user_id = :user")
_COPIED_UNTIL = text("SELECT copied_until FROM shard_inboxes WHERE shard = :shard")
_NOTE_COPIED = text(
    "INSERT INTO shard_inboxes VALUES (:shard, :until) ON CONFLICT (shard) DO UPDATE SET copied_until = excluded.copied_until"
)
_IDS = text(
    "SELECT CAST(message_id AS text), received_at FROM inbox"
    " WHERE CAST(:since AS timestamptz) IS NULL OR received_at >= :since"
)
_REMEMBER = text(
    "INSERT INTO inbox SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:times AS timestamptz[])) ON CONFLICT DO NOTHING"
)
_COUNTED = text(
    "SELECT type, data, meta, occurred_at FROM events, projections WHERE projections.name = 'analytics'"  # noqa: S608 - ours
    " AND (events.transaction_id, events.position) <= (projections.transaction_id, projections.position)"
    f" AND type = ANY(:types) AND {OWNED['events']}"
)


class AlreadyMoving(Conflict):
    type, title = "/problems/already-moving", "User is being moved"


class NotDrained(Conflict):
    type, title = "/problems/not-drained", "Messages are not being sent"


class Differs(Conflict):
    """The copy was not kept."""

    type, title = "/problems/copy-differs", "Copy differs"


class GivenUp(Conflict):
    type, title = "/problems/move-given-up", "Move was given up"


@dataclass(frozen=True)
class _Move:
    id: UUID
    user_id: UUID
    source: str
    target: str

    @property
    def values(self) -> dict[str, Any]:
        return {"user": self.user_id, "move": self.id, "source": self.source}


class Mover:
    def __init__(
        self, shards: Shards, drain_seconds: float = DRAIN_SECONDS, linger_seconds: float = LINGER_SECONDS
    ) -> None:
        self._shards, self._drain_seconds, self._linger_seconds = shards, drain_seconds, linger_seconds

    def move(self, user_id: UUID, to: str) -> None:
        """Returns when they are there.

        Raises NotFound, WrongShard, NotPrepared, AlreadyMoving, and NotDrained, Differs and GivenUp: nothing has changed.
        """
        if to not in self._shards.databases:
            raise NotFound(f"There is no shard {to}.")
        self._shards.check()
        if self._shards.of_user(user_id) == to and self._unfinished(user_id) is None:
            return
        with self._step("begin", self._shards.home) as connection:
            values = {"user": user_id, "home": self._shards.home, "to": to, "move": uuid4()}
            connection.execute(_BEGIN, values)
        found = self._unfinished(user_id)
        if found is not None and found.target != to:
            raise AlreadyMoving(f"User {user_id} is on the way to {found.target}: finish that move first.")
        self.finish(user_id)

    def finish(self, user_id: UUID) -> None:
        """Goes on with a move that was begun. Raises AlreadyMoving while another does."""
        with self._claimed(user_id):
            self._finish(user_id)

    def abort(self, user_id: UUID) -> None:
        """Back to where they were. Raises AlreadyMoving when the map leads elsewhere already."""
        with self._claimed(user_id):
            if (found := self._unfinished(user_id)) is not None:
                self._turn_back(found)

    def unfinished(self) -> Sequence[UUID]:
        """Users whose move was begun."""
        with self._shards.map.engine.connect() as connection:
            return connection.scalars(text("SELECT user_id FROM shard_map WHERE move IS NOT NULL")).all()

    # --- inside

    @contextmanager
    def _claimed(self, user_id: UUID) -> Iterator[None]:
        """Two at once would delete what one of them has brought back."""
        with self._shards.map.engine.connect() as connection:
            try:
                _claim(connection, user_id)
                yield
            finally:
                # The lock is its session's.
                connection.invalidate()

    def _finish(self, user_id: UUID) -> None:
        if (found := self._unfinished(user_id)) is None:
            return
        if self._shards.of_user(user_id) == found.source:
            self._bring(found)
            with self._step("switch", self._shards.home) as connection:
                _expect_one(connection.execute(_SWITCH, found.values), found)
        with self._step("open", found.target) as connection:
            connection.execute(_OPEN, found.values)
        threading.Event().wait(self._linger_seconds)
        # The claim goes with its connection.
        if self._unfinished(user_id) == found:
            self._end(found)

    def _unfinished(self, user_id: UUID) -> _Move | None:
        with self._shards.map.engine.connect() as connection:
            row = connection.execute(_STATE, {"user": user_id}).one_or_none()
        if row is None or row.move is None:
            return None
        return _Move(row.move, user_id, row.leaving or row.shard, row.moving_to or row.shard)

    @contextmanager
    def _step(self, name: str, shard: str) -> Iterator[Connection]:
        """Failpoints are named after it."""
        with bound_contextvars(work=name), self._shards.databases[shard].engine.begin() as connection:
            yield connection

    def _bring(self, move: _Move) -> None:
        """All that is the user's. Turns back if it cannot."""
        try:
            with self._shards.databases[move.target].engine.connect() as connection:
                if connection.scalar(_HAS_ARRIVED, move.values):
                    return
            self._copy_ids_ahead(move)
            with self._step("close", move.source) as connection:
                expect_prepared(connection, move.source)
                connection.execute(FENCE_LOCK, move.values)
                connection.execute(_FENCE, move.values)
            self._await_sent(move)
            self._copy(move)
        except BaseException as error:
            self._turn_back(move)
            if isinstance(error, SQLAlchemyError):
                raise GivenUp(f"User {move.user_id} stays at {move.source}: {reason(error)}") from error
            raise

    def _turn_back(self, move: _Move) -> None:
        """In this order: killed in between, it goes on to the same end. A fence that no move knows of would stay."""
        with self._step("turn back", self._shards.home) as connection:
            _expect_one(connection.execute(_TURN_BACK, move.values), move)
        with self._step("reopen", move.source) as connection:
            connection.execute(_OPEN, move.values)
        try:
            # At once: nobody was sent to the target yet.
            self._end(_Move(move.id, move.user_id, move.target, move.source))
        except (SQLAlchemyError, NotPrepared, WrongShard) as error:
            raise GivenUp(
                f"User {move.user_id} is back at {move.source}. What has arrived at {move.target} goes with `finish`: {reason(error)}"
            ) from error

    def _end(self, move: _Move) -> None:
        self._leave(move)
        with self._step("end", self._shards.home) as connection:
            connection.execute(_END, move.values)

    def _copy_ids_ahead(self, move: _Move) -> None:
        until = clock.now()
        for batch in self._ids(move):
            with self._step("ahead", move.target) as connection:
                connection.execute(_REMEMBER, batch)
        with self._step("ahead", move.target) as connection:
            connection.execute(_NOTE_COPIED, {"shard": move.source, "until": until})

    def _ids(self, move: _Move) -> Iterator[dict[str, Any]]:
        """Of messages that were handled since they were copied last."""
        with self._shards.databases[move.target].engine.connect() as connection:
            until: datetime | None = connection.scalar(_COPIED_UNTIL, {"shard": move.source})
        with self._shards.databases[move.source].engine.connect() as connection:
            since = None if until is None else until - LATE
            rows = connection.execution_options(yield_per=IDS).execute(_IDS, {"since": since})
            for batch in rows.partitions():
                ids, times = zip(*batch, strict=True)
                yield {"ids": [*ids], "times": [*times]}

    def _await_sent(self, move: _Move) -> None:
        """Raises NotDrained."""
        deadline, waiting = time.monotonic() + self._drain_seconds, threading.Event()
        while True:
            with self._shards.databases[move.source].engine.connect() as connection:
                if not connection.scalar(_UNSENT, move.values):
                    return
            if time.monotonic() > deadline:
                raise NotDrained(f"{move.source} has not sent its messages within {self._drain_seconds:.0f} s.")
            waiting.wait(POLL_SECONDS)

    def _copy(self, move: _Move) -> None:
        """Raises Differs, WrongShard, NotPrepared."""
        with (
            self._shards.databases[move.source].engine.connect() as source,
            self._step("copy", move.target) as target,
        ):
            expect_prepared(target, move.target)
            target.execute(_OPEN_TO_COPY, move.values)
            target.execute(_IS_BACK, move.values)
            for batch in self._ids(move):
                target.execute(_REMEMBER, batch)
            for table in OWNED:
                _copy_table(source, target, table, move)
            for table in OWNED:
                if _digest(source, table, move) != _digest(target, table, move):
                    raise Differs(f"The copy of {table} of user {move.user_id} differs.")
            target.execute(_ARRIVED, move.values)
            target.execute(_FENCE, move.values)

    def _leave(self, move: _Move) -> None:
        """Raises WrongShard, NotPrepared."""
        with self._step("leave", move.source) as connection:
            expect_prepared(connection, move.source)
            # Of a mover that has lost its claim, and goes on.
            connection.execute(_ARRIVES_NO_MORE, move.values)
            # A rebuild that has read the events would bring the orders back.
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            _uncount(connection, move)
            connection.execute(_DEPARTS, move.values)
            for table in reversed(OWNED):
                connection.execute(text(f"DELETE FROM {table} WHERE {OWNED[table]}"), move.values)  # noqa: S608 - ours


def reason(error: Exception) -> str:
    """In one line."""
    return " ".join(str(getattr(error, "orig", error)).split())


def _claim(connection: Connection, user_id: UUID) -> None:
    """Raises AlreadyMoving."""
    try:
        connection.execute(_PATIENCE)
        connection.execute(_CLAIM, {"user": user_id})
        connection.commit()
    except OperationalError as error:
        if getattr(error.orig, "pgcode", "") == _IS_LOCKED:
            raise AlreadyMoving(f"Another mover is at work on user {user_id}.") from error
        raise


def _expect_one(result: CursorResult[Any], move: _Move) -> None:
    """Raises AlreadyMoving for a step in the map that was taken already, or is not this move's any more."""
    if not result.rowcount:
        raise AlreadyMoving(f"The map leads user {move.user_id} to another shard by now: finish that move first.")


def _copy_table(source: Connection, target: Connection, table: str, move: _Move) -> None:
    columns = ", ".join(_columns(source, table))
    order = "position" if table == "events" else KEYS[table]
    query = f"SELECT CAST(to_jsonb(t) AS text) FROM {table} AS t WHERE {OWNED[table]} ORDER BY {order}"  # noqa: S608 - ours
    rows = source.execution_options(yield_per=BATCH).execute(text(query), move.values)
    insert = (
        f"INSERT INTO {table} ({columns}) SELECT {columns}"  # noqa: S608 - ours
        f" FROM jsonb_populate_recordset(CAST(NULL AS {table}), CAST(:rows AS jsonb))"
    )
    for batch in rows.scalars().partitions():
        target.execute(text(insert), {"rows": f"[{','.join(batch)}]"})


def _digest(connection: Connection, table: str, move: _Move) -> tuple[int, str]:
    """Number of rows, and what they have."""
    columns = ", ".join(sorted(_columns(connection, table)))
    query = (
        f"SELECT count(*), coalesce(md5(string_agg(md5(CAST(t AS text)), '' ORDER BY {KEYS[table]})), '')"  # noqa: S608 - ours
        f" FROM (SELECT {columns} FROM {table} WHERE {OWNED[table]}) AS t"
    )
    return tuple(connection.execute(text(query), move.values).one())


def _columns(connection: Connection, table: str) -> list[str]:
    query = text(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = :table"
        " AND column_name <> ALL(:own) ORDER BY ordinal_position"
    )
    return [*connection.scalars(query, {"table": table, "own": [*OF_THE_SHARD]})]


def _uncount(connection: Connection, move: _Move) -> None:
    """The target's projector counts the user's events, as they are new there."""
    connection.execute(text("SELECT 1 FROM projections WHERE name = 'analytics' FOR UPDATE"))
    sums = Sums()
    events = connection.execute(_COUNTED, {**move.values, "types": [message.type for message in COUNTED]})
    for event in events:
        sums.count(read(event.type, event.data, event.meta), event.occurred_at)
    for statement, rows in sums.statements(sign=-1):
        connection.execute(statement, rows)
    for table in TABLES:
        is_empty = " AND ".join(f"{column.name} = 0" for column in table.columns if not column.primary_key)
        connection.execute(text(f"DELETE FROM {table.name} WHERE {is_empty}"))  # noqa: S608 - ours
