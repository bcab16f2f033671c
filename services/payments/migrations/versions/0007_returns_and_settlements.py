"""Money that comes back after a refund or chargeback, and refunds made by other means, in the ledger."""

from alembic import op

revision = "0007"
down_revision = "0006"

MOVES = """
(move, source, target) IN (
    ('authorized', 'customer', 'held'), ('captured', 'held', 'captured'), ('released', 'held', 'customer'),
    ('refund_asked', 'captured', 'refunding'), ('refunded', 'refunding', 'customer'), ('refund_refused', 'refunding', 'captured'),
    ('refund_returned', 'customer', 'captured'),
    ('external_refund', 'captured', 'customer'), ('external_returned', 'customer', 'captured'),
    ('disputed', 'captured', 'disputed'), ('dispute_won', 'disputed', 'captured'), ('dispute_lost', 'disputed', 'customer'),
    ('chargeback_returned', 'customer', 'captured'),
    ('settled', 'captured', 'settled'), ('settlement_found', 'settled', 'captured')
) AND (refund_id IS NOT NULL) = (move LIKE 'refund%')
"""


def upgrade() -> None:
    op.drop_constraint("ledger_moves", "ledger")
    op.create_check_constraint("ledger_moves", "ledger", MOVES)
