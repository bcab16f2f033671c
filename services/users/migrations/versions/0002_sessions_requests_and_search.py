"""Sessions, mailed requests, preferences, security events and search columns."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

revision = "0002"
down_revision = "0001"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _sessions()
    _requests()
    _preferences()
    _security_events()
    _search()


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("user_id", UUID(as_uuid=True), sa.ForeignKey("users.id"), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.Column("ended_by", sa.String(20)),
    )
    op.create_index("sessions_open", "sessions", ["user_id"], postgresql_where=sa.text("ended_at IS NULL"))
    op.create_index("sessions_old", "sessions", ["expires_at"])
    op.create_table(
        "refresh_tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("session_id", UUID(as_uuid=True), sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
        sa.Column("parent", sa.String(64)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("used_at", TIME),
        sa.Column("is_superseded", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("access_token_id", sa.String(64), nullable=False),
        sa.Column("access_ends_at", TIME, nullable=False),
    )
    op.create_index("refresh_tokens_of_session", "refresh_tokens", ["session_id", "access_ends_at"])
    op.create_index("refresh_tokens_parent", "refresh_tokens", ["parent"])
    op.create_index("refresh_tokens_used", "refresh_tokens", ["used_at"])
    op.create_table(
        "revoked_tokens",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("ends_at", TIME, nullable=False, index=True),
        sa.Column("revoked_at", TIME, nullable=False, index=True),
    )


def _requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("user_id", UUID(as_uuid=True), sa.ForeignKey("users.id")),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("email", sa.String(255)),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False, index=True),
        sa.Column("used_at", TIME),
    )
    op.create_index("requests_of_user", "requests", ["user_id", "purpose"])


def _preferences() -> None:
    op.create_table(
        "preferences",
        sa.Column("user_id", UUID(as_uuid=True), sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("locale", sa.String(20), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("time_zone", sa.String(64), nullable=False),
        sa.Column("marketing_consent", sa.Boolean, nullable=False),
        sa.Column("marketing_consent_at", TIME),
        sa.Column("notify_by", ARRAY(sa.String(10)), nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
    )


def _security_events() -> None:
    op.create_table(
        "security_events",
        sa.Column("id", UUID(as_uuid=True), primary_key=True),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("user_id", UUID(as_uuid=True)),
        sa.Column("actor_id", UUID(as_uuid=True)),
        sa.Column("address", sa.String(45)),
        sa.Column("details", JSONB, nullable=False),
    )
    op.create_index("security_events_newest", "security_events", ["occurred_at", "id"])
    op.create_index("security_events_of_user", "security_events", ["user_id", "occurred_at", "id"])


def _search() -> None:
    op.add_column("users", sa.Column("email_verified_at", TIME))
    op.add_column("users", sa.Column("is_public", sa.Boolean, nullable=False, server_default=sa.false()))
    for column in ("first_last", "last_first"):
        op.add_column("users", sa.Column(column, sa.Text, nullable=False, server_default=""))
    op.execute(
        "UPDATE users SET first_last = lower(trim(concat_ws(' ', first_name, last_name))),"
        " last_first = lower(trim(concat_ws(' ', last_name, first_name)))"
    )
    # With the "C" collation a prefix is a contiguous range of the index, whatever the database's collation.
    for name, term, condition in (
        ("users_by_email", "email", None),
        ("users_by_username", "lower(username)", None),
        ("users_by_first_name", "first_last", None),
        ("users_by_last_name", "last_first", None),
        ("users_public_by_username", "lower(username)", "is_public"),
        ("users_public_by_first_name", "first_last", "is_public"),
        ("users_public_by_last_name", "last_first", "is_public"),
    ):
        where = f" WHERE {condition}" if condition else ""
        op.execute(f'CREATE INDEX {name} ON users (({term}) COLLATE "C", id){where}')
