"""Finds orders by the requests that placed or changed them."""

from alembic import op

revision = "0008"
down_revision = "0007"

BY_REQUESTS = "type IN ('order.placed', 'order.cancelled', 'order.shipped', 'order.delivered', 'payment.refund')"
"""One of about fifteen events of an order. As in models/events.py."""


def upgrade() -> None:
    for name, column in (
        ("events_by_correlation", "lower(meta->>'correlation_id')"),
        ("events_by_trace", "substr(meta->>'traceparent', 4, 32)"),
    ):
        op.execute(f"CREATE INDEX {name} ON events (({column})) WHERE {BY_REQUESTS}")
