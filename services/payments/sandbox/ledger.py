"""The bank's books: every charge, every refund and every answer it gave, in one SQLite file.

A provider does not forget when it is killed: what it answers has been committed before.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

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
"""

Row = dict[str, Any]
Values = tuple[str | int, ...] | dict[str, str | int | None]


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

    def once(self, key: str, request: str, act: Callable[[], str]) -> tuple[str, bool]:
        """The answer of `act`, and whether it was given before: one key acts once, however many ask with it.

        What was done and what was answered are one transaction; when `act` raises, neither happened
        and the key is free again. Raises KeyReused.
        """
        with self._transaction():
            known = self._read("select * from answers where key = ?", (key,))
            if not known:
                answer = act()
                self._write("insert into answers values (?, ?, ?) returning *", (key, request, answer))
                return answer, False
            if known[0]["request"] != request:
                raise KeyReused
            return known[0]["answer"], True

    def charge(self, **columns: str | int | None) -> Row:
        """`columns`: status, decline_reason, amount, amount_captured, currency and reference."""
        return self._write(
            "insert into charges"
            " (id, status, decline_reason, amount, amount_captured, currency, reference, created_at) values"
            " (:id, :status, :decline_reason, :amount, :amount_captured, :currency, :reference, :created_at)"
            " returning *",
            {"id": _fresh_id("ch"), "created_at": _now(), **columns},
        )

    def change(self, charge_id: str, status: str, amount_captured: int) -> Row:
        return self._write(
            "update charges set status = ?, amount_captured = ? where id = ? returning *",
            (status, amount_captured, charge_id),
        )

    def refund(self, charge_id: str, amount: int) -> tuple[Row, Row]:
        """The refund and the charge after it."""
        charge = self._write(
            "update charges set amount_refunded = amount_refunded + ? where id = ? returning *",
            (amount, charge_id),
        )
        refund = self._write(
            "insert into refunds (id, charge_id, amount, created_at) values (?, ?, ?, ?) returning *",
            (_fresh_id("re"), charge_id, amount, _now()),
        )
        return refund, charge

    def find(self, charge_id: str) -> Row | None:
        return next(iter(self._read("select * from charges where id = ?", (charge_id,))), None)

    def refunds(self, charge_id: str) -> list[Row]:
        return self._read("select * from refunds where charge_id = ? order by position", (charge_id,))

    def charges(self, reference: str | None, after: int, limit: int) -> list[Row]:
        """Oldest first: a page that is read again is the same, however many charges have come since."""
        chosen = "" if reference is None else "reference = :reference and"
        return self._read(
            f"select * from charges where {chosen} position > :after order by position limit :limit",  # noqa: S608
            {"reference": reference, "after": after, "limit": limit},
        )

    def is_open(self) -> bool:
        return self._read("select 1 as answer", ()) != []

    @contextmanager
    def _transaction(self) -> Iterator[None]:
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
    return datetime.now(UTC).isoformat(timespec="milliseconds")
