"""What the bank does with a charge, and what it refuses.

authorized → captured → refunded in parts, or authorized → voided; declined is an end of its own.
"""

from flask import abort

from services.payments.sandbox.fields import ChargeOrder
from services.payments.sandbox.ledger import Ledger, Row

DECLINES = {
    "tok_declined_insufficient_funds": "insufficient_funds",
    "tok_declined_stolen_card": "stolen_card",
}
# tok_slow makes the charge at once and answers late; tok_error fails every time and charges nothing.
TOKENS = {"tok_success", "tok_slow", "tok_error", *DECLINES}


def charge(ledger: Ledger, order: ChargeOrder) -> Row:
    if order.source == "tok_error":
        abort(500, "The bank has a bad day.")
    decline_reason = DECLINES.get(order.source)
    accepted = "captured" if order.capture else "authorized"
    status = "declined" if decline_reason else accepted
    made = ledger.charge(
        status=status,
        decline_reason=decline_reason,
        amount=order.amount,
        amount_captured=order.amount if status == "captured" else 0,
        currency=order.currency,
        reference=order.reference,
    )
    return shown_charge(made)


def capture(ledger: Ledger, charge_id: str, wanted: int | None) -> Row:
    """Takes what was authorized, or the part of it that is `wanted`; the rest is let go."""
    authorized = find(ledger, charge_id, "authorized")["amount"]
    amount = wanted or authorized
    if amount > authorized:
        abort(409, f"{authorized} is authorized, {amount} was to be captured.")
    return shown_charge(ledger.change(charge_id, "captured", amount))


def void(ledger: Ledger, charge_id: str) -> Row:
    find(ledger, charge_id, "authorized")
    return shown_charge(ledger.change(charge_id, "voided", 0))


def refund(ledger: Ledger, charge_id: str, amount: int) -> Row:
    captured = find(ledger, charge_id, "captured")
    left = captured["amount_captured"] - captured["amount_refunded"]
    if amount > left:
        abort(409, f"{left} of the charge is left to refund, {amount} was asked for.")
    made, after = ledger.refund(charge_id, amount)
    return {**shown_refund(made), "charge": shown_charge(after)}


def find(ledger: Ledger, charge_id: str, status: str | None = None) -> Row:
    """The charge; 409 when it has to be in `status` and is not."""
    found = ledger.find(charge_id)
    if found is None:
        abort(404, "There is no such charge.")
    if status not in (None, found["status"]):
        abort(409, f"The charge is {found['status']}; only one that is {status} allows this.")
    return found


def shown_charge(row: Row) -> Row:
    amounts = {name: row[name] for name in ("amount", "amount_captured", "amount_refunded")}
    words = {name: row[name] for name in ("decline_reason", "currency", "reference", "created_at")}
    return {"id": row["id"], "status": row["status"], **amounts, **words}


def shown_refund(row: Row) -> Row:
    return {name: row[name] for name in ("id", "charge_id", "amount", "created_at")}
