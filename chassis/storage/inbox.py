"""The ids of handled messages."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import Column, DateTime, Table, Uuid

from chassis.base import clock
from chassis.storage import postgres
from chassis.storage.prepared import Prepared, array

inbox = Table(
    "inbox",
    postgres.metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False, index=True),
)


_REMEMBER = Prepared(
    "uuid[], timestamptz", "INSERT INTO inbox SELECT unnest($1), $2 ON CONFLICT DO NOTHING RETURNING message_id"
)


def first_times(message_ids: Iterable[UUID]) -> set[UUID]:
    """Those that are new. A concurrent delivery waits for the other's commit."""
    # Sorted by `array`, or two deliveries of the same messages could wait for each other.
    return set(_REMEMBER.run(array(set(message_ids)), clock.now()).scalars())
