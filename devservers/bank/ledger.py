"""The bank's books: every charge, every refund, every answer it gave and every webhook it owes, in one SQLite file.

A provider does not forget when it is killed: what it answers has been committed before.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from devservers.bank.tokens import DUPLICATE_WEBHOOK, OUT_OF_ORDER_WEBHOOK, TOLD

SCHEMA = """
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
"""

ADDED = """
begin;
alter table charges add column source text not null default 'tok_success';
alter table charges add column captures integer not null default 0;
alter table charges add column pages text;
alter table refunds add column reference text not null default '';
create index charges_by_time on charges (created_at, position);
pragma user_version = 1;
commit;
"""
"""What the books of the first version lack."""

MAX_ATTEMPTS = 20

CHOICES = {"reference": "reference = :reference", "since": "created_at >= :since", "until": "created_at < :until"}

Row = dict[str, Any]
Values = tuple[str | int | float | None, ...] | dict[str, str | int | None]


class KeyReused(Exception):
    """The idempotency key was used before, for another request."""


class Ledger:
    """One connection that is used in turns; a turn sees nothing that another has not finished."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._turn = threading.RLock()
        # Without isolation level transactions begin and end where this module says so.
        self._books = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._books.row_factory = _as_dict
        self._books.execute("pragma journal_mode = wal")
        self._books.executescript(SCHEMA)
        if self._read("pragma user_version", ())[0]["user_version"] == 0:
            self._books.executescript(ADDED)
        self.is_telling = False
        """Whether somebody is there to send webhooks."""

    def once(self, key: str, request: str, act: Callable[[], str]) -> tuple[str, bool]:
        """The answer of `act`, and whether it was given before: one key acts once, however many ask with it.

        What was done and what was answered are one transaction; when `act` raises, neither happened
        and the key is free again. Raises KeyReused.
        """
        with self.transaction():
            known = self._read("select * from answers where key = ?", (key,))
            if not known:
                answer = act()
                self._write("insert into answers values (?, ?, ?) returning *", (key, request, answer))
                return answer, False
            if known[0]["request"] != request:
                raise KeyReused
            return known[0]["answer"], True

    def charge(self, **columns: str | int | None) -> Row:
        """`columns`: all of a charge's but position, id, amount_refunded and created_at."""
        values = {"id": _fresh_id("ch"), "created_at": _now(), **columns}
        names = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        return self._write(f"insert into charges ({names}) values ({places}) returning *", values)  # noqa: S608

    def change(self, charge_id: str, status: str, amount_captured: int, decline_reason: str | None) -> Row:
        return self._write(
            "update charges set status = ?, amount_captured = ?, decline_reason = ? where id = ? returning *",
            (status, amount_captured, decline_reason, charge_id),
        )

    def refund(self, charge_id: str, amount: int, reference: str) -> tuple[Row, Row]:
        """The refund and the charge after it."""
        charge = self._write(
            "update charges set amount_refunded = amount_refunded + ? where id = ? returning *",
            (amount, charge_id),
        )
        refund = self._write(
            "insert into refunds (id, charge_id, amount, reference, created_at) values (?, ?, ?, ?, ?) returning *",
            (_fresh_id("re"), charge_id, amount, reference, _now()),
        )
        return refund, charge

    def tell(self, event_type: str, charge: Row) -> None:
        """Owe a webhook about what has just happened to the charge, if webhooks are sent about such."""
        if not self.is_telling or charge["source"] not in TOLD:
            return
        event_id = _fresh_id("evt")
        data = {name: charge[name] for name in ("id", "status", "reference", "amount_captured", "amount_refunded")}
        body = {"id": event_id, "type": event_type, "created_at": _now(), "data": data}
        is_first = not self._read("select 1 from webhooks where charge_id = ?", (charge["id"],))
        is_held = is_first and charge["source"] == OUT_OF_ORDER_WEBHOOK
        copies = 2 if charge["source"] == DUPLICATE_WEBHOOK else 1
        self._write(
            "insert into webhooks (id, charge_id, body, copies, is_held) values (?, ?, ?, ?, ?) returning *",
            (event_id, charge["id"], json.dumps(body), copies, int(is_held)),
        )

    def due_webhook(self, now: float) -> Row | None:
        """The oldest webhook that is to be sent now."""
        query = "select * from webhooks where copies > 0 and not is_held and due <= ? order by position limit 1"
        return next(iter(self._read(query, (now,))), None)

    def webhook_sent(self, webhook: Row) -> None:
        """Once more; what was held back until then goes next."""
        self._write("update webhooks set copies = copies - 1 where id = ? returning *", (webhook["id"],))
        self._read("update webhooks set is_held = 0 where charge_id = ?", (webhook["charge_id"],))

    def webhook_failed(self, webhook: Row, next_try: float) -> None:
        """Try again then; after many tries never."""
        copies = webhook["copies"] if webhook["tries"] < MAX_ATTEMPTS else 0
        self._write(
            "update webhooks set tries = tries + 1, due = ?, copies = ? where id = ? returning *",
            (next_try, copies, webhook["id"]),
        )

    def find(self, charge_id: str) -> Row | None:
        return next(iter(self._read("select * from charges where id = ?", (charge_id,))), None)

    def refunds(self, charge_id: str) -> list[Row]:
        return self._read("select * from refunds where charge_id = ? order by position", (charge_id,))

    def charges(self, choice: dict[str, str], after: int, limit: int) -> list[Row]:
        """Oldest first: a page that is read again is the same, however many charges have come since.

        `choice`: any of reference, since and until; the times as the bank writes them.
        """
        chosen = "".join(f"{CHOICES[name]} and " for name in choice)
        return self._read(
            f"select * from charges where {chosen} position > :after order by position limit :limit",  # noqa: S608
            {**choice, "after": after, "limit": limit},
        )

    def is_open(self) -> bool:
        return self._read("select 1 as answer", ()) != []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with self._turn:
            self._books.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._books.execute("rollback")
                raise
            self._books.execute("commit")

    def _write(self, statement: str, values: Values) -> Row:
        return self._read(statement, values)[0]

    def _read(self, statement: str, values: Values) -> list[Row]:
        with self._turn:
            return self._books.execute(statement, values).fetchall()


def _as_dict(cursor: sqlite3.Cursor, values: tuple[object, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _fresh_id(kind: str) -> str:
    return f"{kind}_{token_hex(12)}"


def _now() -> str:
    return written(datetime.now(UTC))


def written(moment: datetime) -> str:
    """As the bank writes times: texts that sort as the times do."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
