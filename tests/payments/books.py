"""Checks of the ledger in plain SQL."""

from sqlalchemy import text

UNBALANCED = "SELECT currency, sum(amount) FROM ledger_entries GROUP BY currency HAVING sum(amount) <> 0"

# Each payment's balances beside its row. All zero: it was never charged, or was undone.
BY_BOOKS = """
WITH balance AS (
    SELECT payment_id, sum(amount) FILTER (WHERE account = 'held') AS held,
           sum(amount) FILTER (WHERE account IN ('captured', 'refunding', 'disputed')) AS ours,
           -sum(amount) FILTER (WHERE account IN ('customer', 'settled')) AS paid,
           bool_or(move = 'captured') AS was_captured
    FROM ledger_entries GROUP BY payment_id
)
SELECT payments.id, status, amount * 100 AS amount, coalesce(held, 0) AS held, coalesce(ours, 0) AS ours,
       coalesce(paid, 0) AS paid, coalesce(was_captured, false) AS was_captured
FROM payments LEFT JOIN balance ON payment_id = payments.id
"""


def contradictions(service):
    """Every payment whose status contradicts the ledger, and every currency that does not balance."""
    with service.store.engine.connect() as connection:
        wrong = [tuple(row) for row in connection.execute(text(UNBALANCED))]
        for row in connection.execute(text(BY_BOOKS)):
            if row.status not in _statuses(row) or row.paid != row.held + row.ours:
                wrong.append(tuple(row))
    return wrong


def _statuses(row):
    if row.held:
        return {"authorized", "failed"} if (row.held, row.ours) == (row.amount, 0) else set()
    if row.ours:
        return {"captured"}
    return {"refunded"} if row.was_captured else {"pending", "declined", "voided"}


def kept(service):
    """Captured and not refunded, over all payments, in minor units."""
    query = "SELECT coalesce(sum(amount), 0) FROM ledger_entries WHERE account IN ('captured', 'refunding', 'disputed')"
    with service.store.engine.connect() as connection:
        return connection.scalar(text(query))
