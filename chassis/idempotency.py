"""`Idempotency-Key`: a POST sent again gets the first one's answer and does nothing.

The record is a row of the request's own transaction, so there is no "in progress" state: a second request with the key
waits on the row until the first has committed, and then finds its answer.
"""

import hashlib
import hmac
from dataclasses import dataclass

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
    Column("key_hash", String(64), primary_key=True),
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


@dataclass(frozen=True)
class Record:
    """The place of one request: the caller's `key` on a route, and the `body` it must have. `caller` is "" for a stranger."""

    caller: str
    route: str
    key: str
    body: bytes

    def claim(self) -> Answer | None:
        """Take the key for the present transaction, or give the answer that its first request got.

        Raises KeyReused when that request had another body.
        """
        statement = insert(records).values(**self._place, request_hash=self._hash, created_at=db.now())
        taken = db.session().execute(statement.on_conflict_do_nothing().returning(records.c.key_hash)).first()
        if taken is not None:
            return None
        return self.known()

    def known(self) -> Answer | None:
        """The answer that the key's first request got, if it is there. Raises KeyReused when that had another body."""
        first = db.session().execute(select(records).filter_by(**self._place)).one_or_none()
        if first is None:
            return None
        if first.request_hash != self._hash:
            raise KeyReused("Its first use had another body.", field=HEADER)
        return Answer(first.status, first.headers, first.body)

    def keep(self, answer: Answer) -> None:
        """Remember the answer that the present transaction gives."""
        kept = {"status": answer.status, "headers": answer.headers, "body": answer.body}
        db.session().execute(update(records).filter_by(**self._place).values(**kept))

    @property
    def _place(self) -> dict[str, str]:
        # Strangers share no namespace: for them the same key with another body is another request.
        caller = self.caller or f"anyone:{self._hash}"
        return {"caller": caller, "route": self.route, "key_hash": hashlib.sha256(self.key.encode()).hexdigest()}

    @property
    def _hash(self) -> str:
        # Keyed by what only the client knows: the table must not help to guess a password that a body held.
        return hmac.new(self.key.encode(), self.body, hashlib.sha256).hexdigest()


def checked(key: str | None, is_required: bool) -> str | None:
    """The key as sent. Raises KeyMissing, or Malformed when it is empty, too long or not printable ASCII."""
    if key is None:
        if is_required:
            raise KeyMissing(f"Send {HEADER}, a value of your own that is new for each new request.", field=HEADER)
        return None
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Malformed(f"{HEADER} must be 1 to {LONGEST_KEY} printable ASCII characters.", field=HEADER)
    return key
