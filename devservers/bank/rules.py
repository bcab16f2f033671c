"""What the bank does with a charge, by source token.

pending → authorized → captured → refunded in parts; pending or authorized → voided; declined is final.
"""

from flask import abort

from devservers.bank.fields import ChargeOrder
from devservers.bank.ledger import AMOUNTS, Ledger, Row
from devservers.bank.tokens import CAPTURE_ERROR, CAPTURE_REFUSED, DECLINES, ERROR, PENDING, REFUND_REFUSED


def charge(ledger: Ledger, order: ChargeOrder, pages: str) -> Row:
    """`pages`: base URL of the confirmation pages."""
    if order.source == ERROR:
        abort(500, "The bank failed.")
    decline_reason = DECLINES.get(order.source)
    status = _first_status(order.source, order.capture)
    made = ledger.charge(
        status=status,
        decline_reason=decline_reason,
        amount=order.amount,
        amount_captured=order.amount if status == "captured" else 0,
        currency=order.currency,
        reference=order.reference,
        source=order.source,
        captures=int(order.capture),
        pages=pages if status == "pending" else None,
    )
    ledger.queue_webhook(f"charge.{status}", made)
    return charge_view(made)


def _first_status(source: str, capture: bool) -> str:
    if source in DECLINES:
        return "declined"
    if source == PENDING:
        return "pending"
    return "captured" if capture else "authorized"


def confirm(ledger: Ledger, charge_id: str, is_confirmed: bool) -> Row:
    waiting = find(ledger, charge_id, "pending")
    if not is_confirmed:
        return _move(ledger, charge_id, "declined", 0, "authentication_failed")
    captures = bool(waiting["captures"])
    return _move(ledger, charge_id, "captured" if captures else "authorized", waiting["amount"] * captures)


def capture(ledger: Ledger, charge_id: str, amount: int | None, is_news: bool = False) -> Row:
    """A partial `amount` releases the rest."""
    authorized = find(ledger, charge_id, "authorized")
    if authorized["source"] == CAPTURE_ERROR:
        abort(500, "The bank failed.")
    if authorized["source"] == CAPTURE_REFUSED:
        abort(409, "The bank withdrew its authorization.")
    if amount is not None and amount > authorized["amount"]:
        abort(409, f"{amount} exceeds the authorized amount of {authorized['amount']}.")
    return _move(ledger, charge_id, "captured", amount or authorized["amount"], is_news=is_news)


def void(ledger: Ledger, charge_id: str, is_news: bool = False) -> Row:
    find(ledger, charge_id, "authorized", "pending")
    return _move(ledger, charge_id, "voided", 0, is_news=is_news)


def refund(ledger: Ledger, charge_id: str, amount: int, reference: str, is_news: bool = False) -> Row:
    captured = find(ledger, charge_id, "captured")
    if captured["source"] == REFUND_REFUSED:
        abort(409, "The card is closed and cannot be refunded.")
    refundable = left(captured)
    if amount > refundable:
        abort(409, f"{refundable} of this charge can still be refunded, which is less than {amount}.")
    made, after = ledger.refund(charge_id, amount, reference)
    ledger.queue_webhook("charge.refunded", after, is_news)
    return {**refund_view(made), "charge": charge_view(after)}


def dispute(ledger: Ledger, charge_id: str, amount: int | None) -> Row:
    """Withhold `amount`, by default all that is left."""
    disputable = left(find(ledger, charge_id, "captured"))
    if not 0 < (amount or disputable) <= disputable:
        abort(409, f"{disputable} of this charge can still be disputed.")
    disputed = ledger.dispute(charge_id, amount or disputable, 0)
    ledger.queue_webhook("charge.dispute.created", disputed, is_news=True)
    return charge_view(disputed)


def return_refund(ledger: Ledger, charge_id: str) -> Row:
    """The customer's bank sends the last refund back, days after it had succeeded."""
    made = [row for row in ledger.refunds(charge_id) if row["status"] == "succeeded"]
    if not made:
        abort(409, "The charge has no refund.")
    charge = ledger.return_refund(made[-1])
    ledger.queue_webhook("refund.failed", charge, is_news=True)
    return charge_view(charge)


def reverse_chargeback(ledger: Ledger, charge_id: str) -> Row:
    """The bank changes its mind about a lost dispute."""
    charged_back = find(ledger, charge_id)["amount_charged_back"]
    if not charged_back:
        abort(409, "No dispute of this charge was lost.")
    charge = ledger.dispute(charge_id, 0, -charged_back)
    ledger.queue_webhook("charge.dispute.closed", charge, is_news=True)
    return charge_view(charge)


def close_dispute(ledger: Ledger, charge_id: str, is_won: bool) -> Row:
    withheld = find(ledger, charge_id)["amount_disputed"]
    if not withheld:
        abort(409, "The charge is not disputed.")
    closed = ledger.dispute(charge_id, -withheld, 0 if is_won else withheld)
    ledger.queue_webhook("charge.dispute.closed", closed, is_news=True)
    return charge_view(closed)


def warn_of_fraud(ledger: Ledger, charge_id: str) -> Row:
    """No money moves."""
    charge = find(ledger, charge_id)
    ledger.queue_webhook("charge.fraud_warning", charge, is_news=True)
    return charge_view(charge)


def left(charge: Row) -> int:
    gone = charge["amount_refunded"] + charge["amount_disputed"] + charge["amount_charged_back"]
    return int(charge["amount_captured"] - gone)


def _move(
    ledger: Ledger,
    charge_id: str,
    status: str,
    amount_captured: int,
    decline_reason: str | None = None,
    is_news: bool = False,
) -> Row:
    moved = ledger.update_charge(charge_id, status, amount_captured, decline_reason)
    ledger.queue_webhook(f"charge.{status}", moved, is_news)
    return charge_view(moved)


def find(ledger: Ledger, charge_id: str, *statuses: str) -> Row:
    """409 unless in one of `statuses`."""
    found = ledger.find(charge_id)
    if found is None:
        abort(404, "No charge has this id.")
    if statuses and found["status"] not in statuses:
        abort(409, f"The charge is {found['status']}; this requires {' or '.join(statuses)}.")
    return found


def charge_view(row: Row) -> Row:
    amounts = {name: row[name] for name in ("amount", *AMOUNTS)}
    texts = {name: row[name] for name in ("decline_reason", "currency", "reference", "created_at")}
    is_pending = row["status"] == "pending"
    return {
        "id": row["id"],
        "status": row["status"],
        **amounts,
        **texts,
        "action_url": f"{row['pages']}{row['id']}" if is_pending else None,
    }


def refund_view(row: Row) -> Row:
    return {name: row[name] for name in ("id", "charge_id", "amount", "reference", "status", "created_at")}
