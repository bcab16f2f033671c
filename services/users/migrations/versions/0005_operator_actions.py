"""The operators' trail."""

from chassis.storage import migrate

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    migrate.create_trail()
