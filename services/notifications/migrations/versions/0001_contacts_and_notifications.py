"""Contacts, notifications, and the chassis's tables."""

import sqlalchemy as sa
from alembic import op

from chassis.storage import migrate

revision = "0001"
down_revision = None


def upgrade() -> None:
    migrate.create_chassis_tables()
    op.create_table(
        "contacts",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("email", sa.String(255)),
        sa.Column("username", sa.String(100)),
        sa.Column("first_name", sa.String(100)),
        sa.Column("last_name", sa.String(100)),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("channel", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(100), nullable=False),
        sa.Column("subject_id", sa.Uuid, nullable=False),
        sa.Column("recipient", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("html", sa.Text, nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.String(500)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taken_until", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("kind", "subject_id", "channel", "user_id"),
    )
    op.create_index("notifications_of_user", "notifications", ["user_id", "created_at", "id"])
    op.create_index(
        "notifications_pending", "notifications", ["due_at"], postgresql_where=sa.text("status = 'pending'")
    )
