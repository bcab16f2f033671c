"""The address that a contact has verified; null until users publishes the next verification."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("contacts", sa.Column("verified_email", sa.String(255)))
