"""Steps with their deadlines, captured and refunded amounts, and transaction ids by which events can be read in order.

`awaits` goes in the same step, which is safe as no release ran with it beside this one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    money = sa.Numeric(10, 2)
    moment = sa.DateTime(timezone=True)
    for column in (
        sa.Column("captured_amount", money, nullable=False, server_default="0"),
        sa.Column("refunded_amount", money, nullable=False, server_default="0"),
        sa.Column("steps", JSONB, nullable=False, server_default="{}"),
        sa.Column("due_at", moment),
        sa.Column("stuck_at", moment),
        sa.Column("stuck_reason", sa.String(500)),
        sa.Column("confirmed_at", moment),
        sa.Column("shipped_at", moment),
    ):
        op.add_column("orders", column)
    # Orders in progress: the reply they wait for becomes an open step, overdue at once so that its command is repeated.
    op.execute(
        """
        UPDATE orders SET due_at = updated_at, steps = steps || jsonb_build_object(request.type, jsonb_build_object(
            'version', request.version, 'attempts', 1, 'due_at', orders.updated_at, 'outcome', NULL, 'amount', 0))
        FROM events AS request WHERE request.stream = orders.id
            AND request.type = CASE awaits WHEN 'stock' THEN 'stock.reserve' WHEN 'payment' THEN 'payment.authorize' END
        """
    )
    op.drop_column("orders", "awaits")
    op.create_index("orders_due", "orders", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))
    op.create_index("orders_stuck", "orders", ["created_at", "id"], postgresql_where=sa.text("stuck_at IS NOT NULL"))
    op.create_index("orders_by_status", "orders", ["status", "created_at", "id"])
    op.create_index("orders_of_user_by_status", "orders", ["user_id", "status", "created_at", "id"])
    # Positions commit out of order; transaction ids show what can no longer appear among events already read.
    op.execute("ALTER TABLE events ADD COLUMN transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id()")
    op.create_index("events_settled", "events", ["transaction_id", "position"])
