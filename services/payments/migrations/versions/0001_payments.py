"""Payments, and the chassis's tables."""

import sqlalchemy as sa
from alembic import op

from chassis.storage import migrate

revision = "0001"
down_revision = None


def upgrade() -> None:
    migrate.create_chassis_tables()
    op.create_table(
        "payments",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column("order_id", sa.Uuid, unique=True),
        sa.Column("user_id", sa.Uuid),
        sa.Column("amount", sa.Numeric(10, 2), sa.CheckConstraint("amount >= 0"), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("payment_method", sa.String(64), nullable=False),
        sa.Column("status", sa.String(50), nullable=False, server_default="pending"),
        sa.Column("goal", sa.String(50), nullable=False),
        sa.Column("decline_reason", sa.String(100)),
        sa.Column("provider", sa.String(50), nullable=False),
        sa.Column("provider_reference", sa.String(255)),
        sa.Column("captures_at_once", sa.Boolean, nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.create_index("payments_of_user", "payments", ["user_id", "created_at", "id"])
    # Only unfinished payments are indexed, so that a sweep costs the same however many payments there are.
    op.create_index("payments_due", "payments", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
