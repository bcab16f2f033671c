"""Sales by day, and the projector's position in the events."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    _create("days", [], ["placed", "confirmed", "revenue", "refunded"])
    _create("categories", [("category", sa.String(100))], ["quantity", "revenue"])
    _create(
        "products",
        [("category", sa.String(100)), ("product_id", sa.Uuid()), ("name", sa.String(200))],
        ["quantity", "revenue"],
    )
    op.execute(
        "CREATE TABLE projections (name text PRIMARY KEY, transaction_id xid8 NOT NULL, position bigint NOT NULL)"
    )


def _create(name: str, keys: Sequence[tuple[str, sa.types.TypeEngine[Any]]], sums: Sequence[str]) -> None:
    op.create_table(
        f"analytics_{name}",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("currency", sa.String(3), primary_key=True),
        *(sa.Column(key, kind, primary_key=True) for key, kind in keys),
        *(sa.Column(each, sa.BigInteger, nullable=False) for each in sums),
    )
