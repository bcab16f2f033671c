"""The operators' trail."""

from chassis.storage import migrate

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    migrate.create_trail()
