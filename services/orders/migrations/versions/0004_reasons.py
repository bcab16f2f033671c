"""Cancellation reasons become codes; free text stays in the order's events."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        "UPDATE orders SET reason = CASE reason"
        " WHEN 'Cancelled by the customer.' THEN 'cancelled_by_customer'"
        " WHEN 'The goods could not be reserved in time.' THEN 'reservation_timed_out'"
        " WHEN 'The payment was not answered in time.' THEN 'authorization_timed_out'"
        " WHEN 'The goods could not be set aside in time.' THEN 'commitment_timed_out'"
        " WHEN 'The payment could not be collected in time.' THEN 'capture_timed_out'"
        " ELSE 'cancelled_by_shop' END"
        " WHERE reason !~ '^[a-z0-9_]+$'"
    )
