"""The ids of handled messages."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, Column, DateTime, Table, Uuid, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from chassis.base import clock
from chassis.storage import postgres

inbox = Table(
    "inbox",
    postgres.metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("received_at", DateTime(timezone=True), nullable=False, index=True),
)


_REMEMBER = (
    insert(inbox)
    .from_select(
        ["message_id", "received_at"],
        select(func.unnest(bindparam("ids", type_=ARRAY(Uuid))), bindparam("at", type_=DateTime(timezone=True))),
    )
    .on_conflict_do_nothing()
    .returning(inbox.c.message_id)
)


def first_times(message_ids: Iterable[UUID]) -> set[UUID]:
    """Those that are new. A concurrent delivery waits for the other's commit."""
    # In one order everywhere, or two deliveries of the same messages could wait for each other.
    values = {"ids": sorted(set(message_ids)), "at": clock.now()}
    return set(postgres.session().connection().execute(_REMEMBER, values).scalars())
