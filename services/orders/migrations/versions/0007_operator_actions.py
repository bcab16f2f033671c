"""The operators' trail."""

from chassis.storage import migrate

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    migrate.create_trail()
