"""Reviews, and the chassis's tables."""

import sqlalchemy as sa
from alembic import op

from chassis.storage import migrate

revision = "0001"
down_revision = None


def upgrade() -> None:
    migrate.create_chassis_tables()
    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True)),
    )
    op.create_index("reviews_of_user", "reviews", ["user_id", "created_at", "id"])
