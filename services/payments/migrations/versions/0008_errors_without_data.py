"""The ledger's refusal carries no values, as PostgreSQL logs an error's text."""

from alembic import op

revision = "0008"
down_revision = "0007"

NEVER_BELOW_ZERO = """
CREATE OR REPLACE FUNCTION ledger_covers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE there bigint;
BEGIN
    PERFORM 1 FROM payments WHERE id = NEW.payment_id FOR UPDATE;
    SELECT coalesce(sum(amount), 0) INTO there FROM ledger_entries
        WHERE payment_id = NEW.payment_id AND account = NEW.source AND currency = NEW.currency;
    IF NEW.source <> 'customer' AND there < NEW.amount THEN
        RAISE EXCEPTION 'the movement would overdraw its account'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_covers';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.execute(NEVER_BELOW_ZERO)
