"""Refunds and disputes made at the provider without us, booked after a lookup.

Callers hold the payment's lock; the ledger is unchanged since the lookup.
"""

from uuid import UUID

from prometheus_client import Counter
from structlog import get_logger

from chassis.storage.outbox import emit
from contracts.payments import PaymentMovedExternally
from services.payments.models import Payment, Status, ledger
from services.payments.models.ledger import Move, Sums
from services.payments.providers.interface import Charge, Gone

log = get_logger(__name__)

MOVES = Counter("souk_payments_external_total", "Movements of money that we did not request, by kind.", ["move"])
FRAUD_WARNINGS = Counter("souk_payments_fraud_warnings_total", "Warnings of fraud by providers.")


class Overtaken(Exception):
    """The lookup may be out of date: look again."""


def book(payment: Payment, charge: Charge) -> bool:
    """False if nothing is missing. Raises Overtaken."""
    if charge.gone is None or payment.status not in (Status.CAPTURED, Status.REFUNDED):
        return False
    before = payment.sums
    if before.refunding and charge.gone.refunded > before.refunded:
        raise Overtaken(f"A refund of payment {payment.id} is in progress.")
    moves = missing(before, charge.gone)
    for move, amount in moves:
        ledger.post(move, payment.id, amount, payment.currency)
        MOVES.labels(move).inc()
        ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
        log.warning("money moved externally", **ids, move=move, amount=amount, currency=payment.currency)
    payment.settle()
    if moves and payment.order_id is not None:
        emit(notice(payment, payment.order_id))
    return bool(moves)


def missing(booked: Sums, gone: Gone) -> list[tuple[Move, int]]:
    """From the ledger's sums to the provider's. Excess, and refunds taken back, are left to reconciliation."""
    refunded = min(max(gone.refunded - booked.refunded, 0), booked.refundable)
    lost = max(gone.charged_back - booked.charged_back, 0)
    withheld = gone.disputed + lost - booked.disputed
    newly_withheld = min(max(withheld, 0), booked.refundable - refunded)
    lost = min(lost, booked.disputed + newly_withheld)
    moves = [
        (Move.EXTERNAL_REFUND, refunded),
        (Move.DISPUTED, newly_withheld),
        (Move.DISPUTE_LOST, lost),
        (Move.DISPUTE_WON, max(-withheld, 0)),
    ]
    return [(move, amount) for move, amount in moves if amount]


def warn_of_fraud(payment: Payment) -> None:
    FRAUD_WARNINGS.inc()
    ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
    log.warning("provider warns of fraud", **ids, provider=payment.provider)


def notice(payment: Payment, order_id: UUID) -> PaymentMovedExternally:
    sums, position = payment.sums, ledger.last_position(payment.id)
    totals = (sums.refunded_externally, sums.charged_back, sums.disputed)
    return PaymentMovedExternally(order_id, payment.id, payment.currency, *totals, position)
