"""Charges, refunds, idempotency keys and pending webhooks in SQLite, committed before each response."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from devservers.bank.tokens import DUPLICATE_WEBHOOK, OUT_OF_ORDER_WEBHOOK, WITH_WEBHOOKS

MIGRATIONS = (
    """
create table if not exists charges (
    position integer primary key,
    id text not null unique,
    status text not null,
    decline_reason text,
    amount integer not null,
    amount_captured integer not null,
    amount_refunded integer not null default 0,
    currency text not null,
    reference text not null,
    created_at text not null
) strict;
create index if not exists charges_by_reference on charges (reference, position);
create table if not exists refunds (
    position integer primary key,
    id text not null unique,
    charge_id text not null references charges (id),
    amount integer not null,
    created_at text not null
) strict;
create index if not exists refunds_by_charge on refunds (charge_id, position);
create table if not exists answers (key text primary key, request text not null, answer text not null) strict;
create table if not exists webhooks (
    position integer primary key,
    id text not null unique,
    charge_id text not null references charges (id),
    body text not null,
    copies integer not null,
    is_held integer not null,
    tries integer not null default 0,
    due real not null default 0
) strict;
create index if not exists webhooks_due on webhooks (due) where copies > 0;
alter table charges add column source text not null default 'tok_success';
alter table charges add column captures integer not null default 0;
alter table charges add column pages text;
alter table refunds add column reference text not null default '';
create index charges_by_time on charges (created_at, position);
""",
    """
alter table answers rename to idempotency_keys;
alter table idempotency_keys rename column answer to response;
update charges set source = 'tok_lost_response' where source = 'tok_lost_answer';
""",
    """
alter table charges add column amount_disputed integer not null default 0;
alter table charges add column amount_charged_back integer not null default 0;
""",
    """
alter table refunds add column status text not null default 'succeeded';
""",
)
"""Versions count from 1; the first also upgrades unversioned files."""

MAX_ATTEMPTS = 20

AMOUNTS = ("amount_captured", "amount_refunded", "amount_disputed", "amount_charged_back")

FILTERS = {"reference": "reference = :reference", "since": "created_at >= :since", "until": "created_at < :until"}

Row = dict[str, Any]
Values = tuple[str | int | float | None, ...] | dict[str, str | int | None]


class KeyReused(Exception):
    """For a different request."""


class Ledger:
    """One connection behind a lock."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        # Autocommit: this module manages transactions.
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._connection.row_factory = _as_dict
        self._connection.execute("pragma journal_mode = wal")
        version = self._read("pragma user_version", ())[0]["user_version"]
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._connection.executescript(f"begin;{script}pragma user_version = {number};commit;")
        self.has_endpoint = False

    def once(self, key: str, request: str, act: Callable[[], str]) -> tuple[str, bool]:
        """The key's response, and whether it is a replay. Raises KeyReused; an error in `act` leaves the key unused."""
        with self.transaction():
            found = self._read("select * from idempotency_keys where key = ?", (key,))
            if not found:
                response = act()
                self._write("insert into idempotency_keys values (?, ?, ?) returning *", (key, request, response))
                return response, False
            if found[0]["request"] != request:
                raise KeyReused
            return found[0]["response"], True

    def charge(self, **columns: str | int | None) -> Row:
        """`columns`: all those known at creation."""
        values = {"id": _new_id("ch"), "created_at": _now(), **columns}
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        return self._write(f"insert into charges ({names}) values ({places}) returning *", values)  # noqa: S608

    def update_charge(self, charge_id: str, status: str, amount_captured: int, decline_reason: str | None) -> Row:
        return self._write(
            "update charges set status = ?, amount_captured = ?, decline_reason = ? where id = ? returning *",
            (status, amount_captured, decline_reason, charge_id),
        )

    def refund(self, charge_id: str, amount: int, reference: str) -> tuple[Row, Row]:
        """The refund and its updated charge."""
        charge = self._write(
            "update charges set amount_refunded = amount_refunded + ? where id = ? returning *",
            (amount, charge_id),
        )
        refund = self._write(
            "insert into refunds (id, charge_id, amount, reference, created_at) values (?, ?, ?, ?, ?) returning *",
            (_new_id("re"), charge_id, amount, reference, _now()),
        )
        return refund, charge

    def return_refund(self, refund: Row) -> Row:
        """Its updated charge."""
        self._write("update refunds set status = 'failed' where id = ? returning *", (refund["id"],))
        return self._write(
            "update charges set amount_refunded = amount_refunded - ? where id = ? returning *",
            (refund["amount"], refund["charge_id"]),
        )

    def dispute(self, charge_id: str, disputed: int, charged_back: int) -> Row:
        return self._write(
            "update charges set amount_disputed = amount_disputed + ?, amount_charged_back = amount_charged_back + ?"
            " where id = ? returning *",
            (disputed, charged_back, charge_id),
        )

    def queue_webhook(self, event_type: str, charge: Row, is_news: bool = False) -> None:
        if not self.has_endpoint or not (is_news or charge["source"] in WITH_WEBHOOKS):
            return
        event_id = _new_id("evt")
        data = {name: charge[name] for name in ("id", "status", "reference", *AMOUNTS)}
        body = {"id": event_id, "type": event_type, "created_at": _now(), "data": data}
        is_first = not self._read("select 1 from webhooks where charge_id = ?", (charge["id"],))
        is_held = is_first and charge["source"] == OUT_OF_ORDER_WEBHOOK
        copies = 2 if charge["source"] == DUPLICATE_WEBHOOK else 1
        self._write(
            "insert into webhooks (id, charge_id, body, copies, is_held) values (?, ?, ?, ?, ?) returning *",
            (event_id, charge["id"], json.dumps(body), copies, int(is_held)),
        )

    def due_webhook(self, now: float) -> Row | None:
        query = "select * from webhooks where copies > 0 and not is_held and due <= ? order by position limit 1"
        return next(iter(self._read(query, (now,))), None)

    def webhook_sent(self, webhook: Row) -> None:
        """Releases the webhook held back for it."""
        self._write("update webhooks set copies = copies - 1 where id = ? returning *", (webhook["id"],))
        self._read("update webhooks set is_held = 0 where charge_id = ?", (webhook["charge_id"],))

    def webhook_failed(self, webhook: Row, next_try_at: float) -> None:
        """Retry up to MAX_ATTEMPTS."""
        copies = webhook["copies"] if webhook["tries"] < MAX_ATTEMPTS else 0
        self._write(
            "update webhooks set tries = tries + 1, due = ?, copies = ? where id = ? returning *",
            (next_try_at, copies, webhook["id"]),
        )

    def find(self, charge_id: str) -> Row | None:
        return next(iter(self._read("select * from charges where id = ?", (charge_id,))), None)

    def refunds(self, charge_id: str) -> list[Row]:
        return self._read("select * from refunds where charge_id = ? order by position", (charge_id,))

    def charges(self, filters: dict[str, str], after: int, limit: int) -> list[Row]:
        """Oldest first. `filters`: reference, since, until."""
        conditions = "".join(f"{FILTERS[name]} and " for name in filters)
        return self._read(
            f"select * from charges where {conditions} position > :after order by position limit :limit",  # noqa: S608
            {**filters, "after": after, "limit": limit},
        )

    def newest(self, limit: int) -> list[Row]:
        return self._read("select * from charges order by position desc limit ?", (limit,))

    def is_open(self) -> bool:
        return self._read("select 1", ()) != []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def _write(self, statement: str, values: Values) -> Row:
        return self._read(statement, values)[0]

    def _read(self, statement: str, values: Values) -> list[Row]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()


def _as_dict(cursor: sqlite3.Cursor, values: tuple[object, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _new_id(kind: str) -> str:
    return f"{kind}_{token_hex(12)}"


def _now() -> str:
    return timestamp(datetime.now(UTC))


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC, which sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
