"""The first response to each POST with an `Idempotency-Key`.

There is no "in progress" state: of concurrent requests each does the work, and only the first to finish commits.
"""

import hashlib
import hmac
from dataclasses import dataclass

from sqlalchemy import Column, DateTime, Integer, LargeBinary, String, Table, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from chassis.base import clock
from chassis.base.problems import Conflict
from chassis.storage import postgres
from chassis.storage.responses import HEADER, KeyReused, StoredResponse

idempotency_keys = Table(
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


class AlreadyProcessed(Conflict):
    """Rolls back what was done twice."""


@dataclass(frozen=True)
class Record:
    """`caller` is "" if anonymous."""

    caller: str
    route: str
    key: str
    body: bytes

    def find(self) -> StoredResponse | None:
        """The first response, if any. Raises KeyReused if the bodies differ."""
        first = postgres.session().execute(select(idempotency_keys).filter_by(**self._primary_key)).one_or_none()
        if first is None:
            return None
        if first.request_hash != self._hash:
            raise KeyReused("It was first used with another request body.", field=HEADER)
        return StoredResponse(first.status, first.headers, first.body)

    def save(self, response: StoredResponse) -> None:
        """Waits for a concurrent request. Raises AlreadyProcessed if that commits."""
        values = {"status": response.status, "headers": response.headers, "body": response.body}
        row = {**self._primary_key, **values, "request_hash": self._hash, "created_at": clock.now()}
        statement = insert(idempotency_keys).values(row).on_conflict_do_nothing()
        if postgres.session().execute(statement.returning(idempotency_keys.c.key_hash)).first() is None:
            raise AlreadyProcessed("Another request with this key was processed in the meantime.", field=HEADER)

    @property
    def _primary_key(self) -> dict[str, str]:
        # Anonymous callers share no keys.
        caller = self.caller or f"anyone:{self._hash}"
        return {"caller": caller, "route": self.route, "key_hash": hashlib.sha256(self.key.encode()).hexdigest()}

    @property
    def _hash(self) -> str:
        # Keyed, so that passwords in bodies cannot be guessed from it.
        return hmac.new(self.key.encode(), self.body, hashlib.sha256).hexdigest()
