"""Refund reasons become codes; staff may add a note for themselves or the customer."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("refunds", sa.Column("note", JSONB))
    op.execute(
        "UPDATE refunds SET reason = 'refunded_by_shop',"
        " note = CASE WHEN reason IN ('', 'Refunded by the shop.', 'Cancelled by the customer.', 'Cancelled by the shop.')"
        " THEN NULL ELSE jsonb_build_object('text', reason, 'audience', 'staff') END"
        " WHERE reason !~ '^[a-z0-9_]+$'"
    )
