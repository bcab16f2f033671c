"""An index of the few admins among all users."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("CREATE INDEX users_admins ON users (id) WHERE 'admin' = ANY (roles)")
