"""An attempt that a provider surely did not take is called so."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("UPDATE attempts SET outcome = 'not taken' WHERE outcome = 'away'")
