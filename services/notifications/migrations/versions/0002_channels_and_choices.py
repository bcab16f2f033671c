"""Channels beside e-mail: what each person chose, their devices, when a message may leave, and a log of attempts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("contacts", sa.Column("locale", sa.String(20)))
    op.add_column("contacts", sa.Column("time_zone", sa.String(50)))
    op.add_column("contacts", sa.Column("marketing_consent", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("contacts", sa.Column("wishes_at", sa.DateTime(timezone=True)))
    _notifications()
    op.create_table(
        "preferences",
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("choices", JSONB, nullable=False),
        sa.Column("phone", sa.String(20)),
        sa.Column("quiet_from", sa.Time),
        sa.Column("quiet_until", sa.Time),
        sa.Column("time_zone", sa.String(50)),
        sa.Column("digest", sa.String(10), nullable=False),
        sa.Column("digest_hour", sa.SmallInteger, nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False, index=True),
        sa.Column("endpoint", sa.String(1000), nullable=False, unique=True),
        sa.Column("p256dh", sa.String(100), nullable=False),
        sa.Column("auth", sa.String(30), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("notification_id", sa.Uuid, sa.ForeignKey("notifications.id"), nullable=False, index=True),
        sa.Column("provider", sa.String(100), nullable=False),
        sa.Column("device_id", sa.Uuid),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("reference", sa.String(100)),
        sa.Column("error", sa.String(500)),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
    )


def _notifications() -> None:
    op.add_column("notifications", sa.Column("fact_id", sa.Uuid))
    op.add_column("notifications", sa.Column("reason", sa.String(50)))
    op.add_column("notifications", sa.Column("release_at", sa.DateTime(timezone=True)))
    op.add_column("notifications", sa.Column("give_up_at", sa.DateTime(timezone=True)))
    op.add_column("notifications", sa.Column("locale", sa.String(20)))
    op.add_column("notifications", sa.Column("pinned_to", sa.String(100)))
    op.add_column("notifications", sa.Column("digest_id", sa.Uuid))
    # A subject may have several facts (two refunds of one order). Rows of before, and of processes that do not know
    # the column yet, have one.
    op.drop_constraint("notifications_kind_subject_id_channel_user_id_key", "notifications", type_="unique")
    op.execute(
        "CREATE UNIQUE INDEX notifications_once ON notifications (kind, coalesce(fact_id, subject_id), channel, user_id)"
    )
    op.create_index(
        "notifications_deferred", "notifications", ["release_at"], postgresql_where=sa.text("status = 'deferred'")
    )
    op.create_index("notifications_dead", "notifications", ["created_at"], postgresql_where=sa.text("status = 'dead'"))
