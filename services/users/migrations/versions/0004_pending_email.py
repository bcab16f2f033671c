"""A new address replaces the old one only when verified."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN pending_email varchar(255)")
