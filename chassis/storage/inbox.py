"""The ids of handled messages."""

from uuid import UUID

from sqlalchemy import Column, DateTime, Table, Uuid
from sqlalchemy.dialects.postgresql import insert

from chassis.base import clock
from chassis.storage import postgres

inbox = Table(
    "inbox",
    postgres.metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False, index=True),
)


def first_time(message_id: UUID) -> bool:
    """A concurrent delivery waits for the other's commit."""
    statement = insert(inbox).values(message_id=message_id, received_at=clock.now()).on_conflict_do_nothing()
    return postgres.session().execute(statement.returning(inbox.c.message_id)).first() is not None
