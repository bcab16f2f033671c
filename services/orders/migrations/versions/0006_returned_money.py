"""Money that comes back after a refund, and staff's consent to ship although money is missing."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

REPORTED = """
UPDATE orders SET reported_amount = reported.amount / 100.0 FROM (
    SELECT DISTINCT ON (stream) stream, (data->>'refunded')::bigint + (data->>'charged_back')::bigint AS amount
    FROM events WHERE type = 'payment.moved_externally' ORDER BY stream, version DESC
) AS reported WHERE reported.stream = orders.id
"""
DELIVERED = """
UPDATE orders SET delivered_at = events.occurred_at
FROM events WHERE events.stream = orders.id AND events.type = 'order.delivered'
"""


def upgrade() -> None:
    for name in ("reported_amount", "accepted_amount"):
        op.add_column("orders", sa.Column(name, sa.Numeric(10, 2), nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("delivered_at", sa.DateTime(timezone=True)))
    op.execute(REPORTED)
    op.execute(DELIVERED)
