"""The ledger, in which the database refuses unbalanced entries; refunds; columns for 3-D Secure and timeouts.

Payments from before the ledger are entered into it as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

MOVES = """
(move, source, target) IN (
    ('authorized', 'customer', 'held'), ('captured', 'held', 'captured'), ('released', 'held', 'customer'),
    ('refund_asked', 'captured', 'refunding'), ('refunded', 'refunding', 'customer'), ('refund_refused', 'refunding', 'captured')
) AND (refund_id IS NOT NULL) = (move LIKE 'refund%')
"""

ENTRIES = """
CREATE VIEW ledger_entries AS
SELECT position, payment_id, refund_id, move, source AS account, -amount AS amount, currency, occurred_at FROM ledger
UNION ALL
SELECT position, payment_id, refund_id, move, target AS account, amount, currency, occurred_at FROM ledger
"""

# The payment's lock serialises its movements, and each statement here sees what was committed before.
NEVER_BELOW_ZERO = """
CREATE FUNCTION ledger_covers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE there bigint;
BEGIN
    PERFORM 1 FROM payments WHERE id = NEW.payment_id FOR UPDATE;
    SELECT coalesce(sum(amount), 0) INTO there FROM ledger_entries
        WHERE payment_id = NEW.payment_id AND account = NEW.source AND currency = NEW.currency;
    IF NEW.source <> 'customer' AND there < NEW.amount THEN
        RAISE EXCEPTION 'payment % has % in %, % was to leave it', NEW.payment_id, there, NEW.source, NEW.amount
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_covers';
    END IF;
    RETURN NEW;
END $$
"""

APPEND_ONLY = """
CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: correct it by another movement'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_is_append_only';
END $$
"""

ENTER_OLD_PAYMENTS = """
INSERT INTO ledger (payment_id, move, source, target, amount, currency, occurred_at)
SELECT id, move, source, target, (amount * 100)::bigint, currency, updated_at
FROM payments, (VALUES
    (1, 'authorized', 'customer', 'held', ARRAY['authorized', 'captured', 'failed']),
    (2, 'captured', 'held', 'captured', ARRAY['captured'])
) AS step (turn, move, source, target, statuses)
WHERE status = ANY (statuses) AND amount > 0
ORDER BY turn
"""


def upgrade() -> None:
    op.add_column("payments", sa.Column("action_url", sa.String(2_000)))
    op.add_column("payments", sa.Column("sent_at", sa.DateTime(timezone=True)))
    op.execute("UPDATE payments SET sent_at = asked_at")
    _refunds()
    _ledger()
    op.execute(ENTER_OLD_PAYMENTS)


def _refunds() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("payment_id", sa.Uuid, sa.ForeignKey("payments.id"), nullable=False),
        sa.Column("amount", sa.Numeric(10, 2), sa.CheckConstraint("amount > 0"), nullable=False),
        sa.Column("reason", sa.String(200), nullable=False),
        sa.Column("asked_by", sa.String(20), nullable=False),
        sa.Column("status", sa.String(50), nullable=False),
        sa.Column("refusal_reason", sa.String(100)),
        sa.Column("provider_reference", sa.String(255)),
        sa.Column("asked_at", sa.DateTime(timezone=True)),
        sa.Column("due_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("refunds_of_payment", "refunds", ["payment_id", "created_at"])
    op.create_index("refunds_due", "refunds", ["due_at"], postgresql_where=sa.text("due_at IS NOT NULL"))


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("position", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("payment_id", sa.Uuid, sa.ForeignKey("payments.id"), nullable=False),
        sa.Column("refund_id", sa.Uuid, sa.ForeignKey("refunds.id")),
        sa.Column("move", sa.String(20), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("target", sa.String(20), nullable=False),
        sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount > 0"), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(MOVES, name="ledger_moves"),
    )
    # Nothing happens twice to a payment or refund, and a refund is either made or refused.
    op.create_index("ledger_of_payment", "ledger", ["payment_id"])
    for name, columns, condition in (
        ("ledger_payment_once", ["payment_id", "move"], "refund_id IS NULL"),
        ("ledger_refund_once", ["refund_id", "move"], "refund_id IS NOT NULL"),
        ("ledger_refund_ends_once", ["refund_id"], "move IN ('refunded', 'refund_refused')"),
        ("ledger_hold_ends_once", ["payment_id"], "move IN ('captured', 'released')"),
    ):
        op.create_index(name, "ledger", columns, unique=True, postgresql_where=sa.text(condition))
    for statement in (ENTRIES, NEVER_BELOW_ZERO, APPEND_ONLY):
        op.execute(statement)
    op.execute("CREATE TRIGGER covers BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION ledger_covers()")
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger "
        "FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only()"
    )
