"""Orders that have left for another shard. See sharding/shards.py, which makes the function in shards only."""

from uuid import UUID

from sqlalchemy import text

from chassis.storage import postgres

_HAS_SHARDS = text("SELECT to_regprocedure('expect_not_departed(uuid)') IS NOT NULL")
_EXPECT_NOT_DEPARTED = text("SELECT expect_not_departed(:order)")


def expect_not_departed(order_id: UUID) -> None:
    """Of an order that is not here. Raises a refusal if another shard has it: its messages wait until they are led there."""
    session = postgres.session()
    if session.scalar(_HAS_SHARDS):
        session.execute(_EXPECT_NOT_DEPARTED, {"order": order_id})
