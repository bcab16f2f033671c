"""`Idempotency-Key`: a POST sent again gets the first one's answer and does nothing.

The record is a row of the request's own transaction, so there is no "in progress" state: a second request with the key
waits on the row until the first has committed, and then finds its answer.
"""

import hashlib
from dataclasses import dataclass

from flask import request
from sqlalchemy import Column, DateTime, Integer, LargeBinary, String, Table, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from chassis import db
from chassis.problems import Malformed, Problem

HEADER = "Idempotency-Key"
LONGEST_KEY = 128

records = Table(
    "idempotency",
    db.metadata,
    Column("caller", String(100), primary_key=True),
    Column("route", String(200), primary_key=True),
    Column("key", String(LONGEST_KEY), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", Integer),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    Column("created_at", DateTime(timezone=True), nullable=False, index=True),
)


class KeyMissing(Problem):
    type, status, title = "/problems/idempotency-key-missing", 400, "An Idempotency-Key is needed"


class KeyReused(Problem):
    type, status, title = (
        "/problems/idempotency-key-reused",
        422,
        "The Idempotency-Key belongs to another request",
    )


@dataclass(frozen=True)
class Answer:
    """A response as it is kept: repeating it needs nothing else."""

    status: int
    headers: dict[str, str]
    body: bytes


def key(required: bool) -> str | None:
    """The request's key. Raises KeyMissing, or Malformed when it is empty, too long or not printable ASCII."""
    value = request.headers.get(HEADER)
    if value is None:
        if required:
            raise KeyMissing(f"Send {HEADER}, a value of your own that is new for each new request.", field=HEADER)
        return None
    if not (0 < len(value) <= LONGEST_KEY and value.isascii() and value.isprintable()):
        raise Malformed(f"{HEADER} must be 1 to {LONGEST_KEY} printable ASCII characters.", field=HEADER)
    return value


def claim(caller: str, key: str) -> Answer | None:
    """Take `key` for the present transaction, or give the answer that its first request got.

    Raises KeyReused when that request had another body.
    """
    place = {"caller": caller, "route": f"{request.method} {request.path}", "key": key}
    request_hash = hashlib.sha256(request.get_data()).hexdigest()
    statement = insert(records).values(**place, request_hash=request_hash, created_at=db.now())
    taken = db.session().execute(statement.on_conflict_do_nothing().returning(records.c.key)).first()
    if taken is not None:
        return None
    first = db.session().execute(select(records).filter_by(**place)).one()
    if first.request_hash != request_hash:
        raise KeyReused("Its first use had another body.", field=HEADER)
    return Answer(first.status, first.headers, first.body)


def keep(caller: str, key: str, answer: Answer) -> None:
    """Remember the answer that the present transaction gives to the request with `key`."""
    place = {"caller": caller, "route": f"{request.method} {request.path}", "key": key}
    kept = {"status": answer.status, "headers": answer.headers, "body": answer.body}
    db.session().execute(update(records).filter_by(**place).values(**kept))
