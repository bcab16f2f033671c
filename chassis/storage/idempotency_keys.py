"""The first answers of POSTs with an `Idempotency-Key`.

The record is a row of the request's own transaction, so there is no "in progress" state: a second request with the key
waits on the row until the first has committed, and then finds its answer.
"""

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import Column, DateTime, Integer, LargeBinary, String, Table, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from chassis.base import clock
from chassis.storage import postgres
from chassis.storage.responses import HEADER, KeyReused, StoredResponse

answers = Table(
    "idempotency",
    postgres.metadata,
    Column("caller", String(100), primary_key=True),
    Column("route", String(200), primary_key=True),
    Column("key_hash", String(64), primary_key=True),
    Column("request_hash", String(64), nullable=False),
    Column("status", Integer),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    Column("created_at", DateTime(timezone=True), nullable=False, index=True),
)


@dataclass(frozen=True)
class Record:
    """The place of one request: the caller's `key` on a route, and the `body` it must have. `caller` is "" for a stranger."""

    caller: str
    route: str
    key: str
    body: bytes

    def claim(self) -> StoredResponse | None:
        """Take the key for the present transaction, or give the answer that its first request got.

        Raises KeyReused when that request had another body.
        """
        statement = insert(answers).values(**self._place, request_hash=self._hash, created_at=clock.now())
        taken = postgres.session().execute(statement.on_conflict_do_nothing().returning(answers.c.key_hash)).first()
        if taken is not None:
            return None
        return self.known()

    def known(self) -> StoredResponse | None:
        """The answer that the key's first request got, if it is there. Raises KeyReused when that had another body."""
        first = postgres.session().execute(select(answers).filter_by(**self._place)).one_or_none()
        if first is None:
            return None
        if first.request_hash != self._hash:
            raise KeyReused("It was first used with a different body.", field=HEADER)
        return StoredResponse(first.status, first.headers, first.body)

    def keep(self, answer: StoredResponse) -> None:
        """Remember the answer that the present transaction gives."""
        kept = {"status": answer.status, "headers": answer.headers, "body": answer.body}
        postgres.session().execute(update(answers).filter_by(**self._place).values(**kept))

    @property
    def _place(self) -> dict[str, str]:
        # Strangers share no namespace: for them the same key with another body is another request.
        caller = self.caller or f"anyone:{self._hash}"
        return {"caller": caller, "route": self.route, "key_hash": hashlib.sha256(self.key.encode()).hexdigest()}

    @property
    def _hash(self) -> str:
        # Keyed by what only the client knows: the table must not help to guess a password that a body held.
        return hmac.new(self.key.encode(), self.body, hashlib.sha256).hexdigest()
