"""Money that moves without us: external refunds, disputes and part captures in the ledger; webhooks that name a charge."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

MOVES = """
(move, source, target) IN (
    ('authorized', 'customer', 'held'), ('captured', 'held', 'captured'), ('released', 'held', 'customer'),
    ('refund_asked', 'captured', 'refunding'), ('refunded', 'refunding', 'customer'), ('refund_refused', 'refunding', 'captured'),
    ('external_refund', 'captured', 'customer'), ('disputed', 'captured', 'disputed'),
    ('dispute_won', 'disputed', 'captured'), ('dispute_lost', 'disputed', 'customer')
) AND (refund_id IS NOT NULL) = (move LIKE 'refund%')
"""


def upgrade() -> None:
    op.drop_constraint("ledger_moves", "ledger")
    op.create_check_constraint("ledger_moves", "ledger", MOVES)
    # A part capture ends the hold by two movements, which together cannot exceed it.
    op.drop_index("ledger_hold_ends_once", "ledger")
    op.drop_index("ledger_payment_once", "ledger")
    for name, columns, condition, unique in (
        ("ledger_payment_once", ["payment_id", "move"], "move IN ('authorized', 'captured', 'released')", True),
        ("ledger_disputes", ["payment_id"], "move IN ('disputed', 'dispute_won', 'dispute_lost')", False),
    ):
        op.create_index(name, "ledger", columns, unique=unique, postgresql_where=sa.text(condition))
    op.create_index(
        "payments_by_reference",
        "payments",
        ["provider_reference"],
        postgresql_where=sa.text("provider_reference IS NOT NULL"),
    )
    op.add_column("webhooks", sa.Column("reference", sa.String(255)))
