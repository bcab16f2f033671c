"""What the bank does with a charge, and what it refuses: the token that pays decides.

pending → authorized → captured → refunded in parts, or pending or authorized → voided; declined is an end of its own.
"""

from flask import abort

from devservers.bank.fields import ChargeOrder
from devservers.bank.ledger import Ledger, Row
from devservers.bank.tokens import CAPTURE_ERROR, CAPTURE_REFUSED, DECLINES, ERROR, PENDING, REFUND_REFUSED


def charge(ledger: Ledger, order: ChargeOrder, pages: str) -> Row:
    """`pages`: the URL under which the bank's own pages are, one for each charge that waits for its customer."""
    if order.source == ERROR:
        abort(500, "The bank has a bad day.")
    decline_reason = DECLINES.get(order.source)
    status = _begins_as(order.source, order.capture)
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
    ledger.tell(f"charge.{status}", made)
    return shown_charge(made)


def _begins_as(source: str, capture: bool) -> str:
    if source in DECLINES:
        return "declined"
    if source == PENDING:
        return "pending"
    return "captured" if capture else "authorized"


def confirm(ledger: Ledger, charge_id: str, is_agreed: bool) -> Row:
    """The customer did their part on the bank's page, or refused to."""
    waiting = find(ledger, charge_id, "pending")
    if not is_agreed:
        return _move(ledger, charge_id, "declined", 0, "authentication_failed")
    is_taken = bool(waiting["captures"])
    return _move(ledger, charge_id, "captured" if is_taken else "authorized", waiting["amount"] * is_taken)


def capture(ledger: Ledger, charge_id: str, wanted: int | None) -> Row:
    """Takes what was authorized, or the part of it that is `wanted`; the rest is let go."""
    authorized = find(ledger, charge_id, "authorized")
    if authorized["source"] == CAPTURE_ERROR:
        abort(500, "The bank has a bad day.")
    if authorized["source"] == CAPTURE_REFUSED:
        abort(409, "The bank does not stand by its authorization.")
    amount = wanted or authorized["amount"]
    if amount > authorized["amount"]:
        abort(409, f"{authorized['amount']} is authorized, {amount} was to be captured.")
    return _move(ledger, charge_id, "captured", amount)


def void(ledger: Ledger, charge_id: str) -> Row:
    find(ledger, charge_id, "authorized", "pending")
    return _move(ledger, charge_id, "voided", 0)


def refund(ledger: Ledger, charge_id: str, amount: int, reference: str) -> Row:
    captured = find(ledger, charge_id, "captured")
    if captured["source"] == REFUND_REFUSED:
        abort(409, "The card is closed: nothing can be given back to it.")
    left = captured["amount_captured"] - captured["amount_refunded"]
    if amount > left:
        abort(409, f"{left} of the charge is left to refund, {amount} was asked for.")
    made, after = ledger.refund(charge_id, amount, reference)
    ledger.tell("charge.refunded", after)
    return {**shown_refund(made), "charge": shown_charge(after)}


def _move(ledger: Ledger, charge_id: str, status: str, amount_captured: int, decline_reason: str | None = None) -> Row:
    moved = ledger.change(charge_id, status, amount_captured, decline_reason)
    ledger.tell(f"charge.{status}", moved)
    return shown_charge(moved)


def find(ledger: Ledger, charge_id: str, *statuses: str) -> Row:
    """The charge; 409 when it has to be in one of `statuses` and is not."""
    found = ledger.find(charge_id)
    if found is None:
        abort(404, "There is no such charge.")
    if statuses and found["status"] not in statuses:
        abort(409, f"The charge is {found['status']}; only one that is {' or '.join(statuses)} allows this.")
    return found


def shown_charge(row: Row) -> Row:
    amounts = {name: row[name] for name in ("amount", "amount_captured", "amount_refunded")}
    words = {name: row[name] for name in ("decline_reason", "currency", "reference", "created_at")}
    # A charge that is still to be confirmed says where.
    waits = row["status"] == "pending"
    return {
        "id": row["id"],
        "status": row["status"],
        **amounts,
        **words,
        "action_url": f"{row['pages']}{row['id']}" if waits else None,
    }


def shown_refund(row: Row) -> Row:
    return {name: row[name] for name in ("id", "charge_id", "amount", "reference", "created_at")}
