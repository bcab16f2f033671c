"""One reconciliation per provider and day."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("provider", sa.String(50), nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("differences", JSONB),
        sa.UniqueConstraint("provider", "day"),
    )
    op.create_index("payments_begun", "payments", ["created_at"])
