"""Orders, their events, and the chassis's tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from chassis.storage import migrate

revision = "0001"
down_revision = None


def upgrade() -> None:
    # The event table is the outbox.
    migrate.create_chassis_tables(with_outbox=False)
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("id", sa.Uuid, nullable=False, unique=True),
        sa.Column("stream", sa.Uuid, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("type", sa.String(100), nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("meta", JSONB, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("stream", "version"),
    )
    op.create_index("events_unsent", "events", ["position"], postgresql_where=sa.text("sent_at IS NULL"))
    migrate.announce_inserts("events")
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("total_amount", sa.Numeric(10, 2), nullable=False),
        sa.Column("status", sa.String(50), nullable=False, server_default="pending"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("lines", JSONB, nullable=False),
        sa.Column("payment_method", sa.String(100), nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("awaits", sa.String(20)),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("orders_newest", "orders", ["created_at", "id"])
    op.create_index("orders_of_user", "orders", ["user_id", "created_at", "id"])
