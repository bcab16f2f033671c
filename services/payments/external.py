"""Money that moves without us: at the provider, booked after a lookup, or by staff's other means.

Callers hold the payment's lock; the ledger is unchanged since the lookup.
"""

from collections.abc import Mapping
from uuid import UUID

from prometheus_client import Counter
from structlog import get_logger

from chassis.storage import postgres
from chassis.storage.outbox import emit
from contracts.payments import PaymentMovedExternally
from contracts.reasons import Reason
from services.payments.models import Payment, Refund, RefundStatus, Status, ledger
from services.payments.models.ledger import Move, Sums
from services.payments.models.refund import BY_US
from services.payments.providers.interface import Charge, Gone

log = get_logger(__name__)

MOVES = Counter("souk_payments_external_total", "Movements of money that we did not request, by kind.", ["move"])
for _move in (Move.REFUND_RETURNED, Move.EXTERNAL_RETURNED):
    MOVES.labels(_move)  # Without a first 0, an alert misses the first increase.
FRAUD_WARNINGS = Counter("souk_payments_fraud_warnings_total", "Warnings of fraud by providers.")


class Overtaken(Exception):
    """The lookup may be out of date: look again."""


def book(payment: Payment, charge: Charge, returned: Mapping[UUID, Reason] | None = None) -> bool:
    """False if nothing is missing. Raises Overtaken.

    `returned`: our refunds that failed after they had succeeded. None if not looked up: then no refund is taken back.
    """
    if charge.gone is None or payment.status not in (Status.CAPTURED, Status.REFUNDED):
        return False
    for refund_id, reason in (returned or {}).items():
        refund, _ = Refund.get_for_update(refund_id)
        refund.take_back(payment, reason)
        _report(payment, Move.REFUND_RETURNED, refund.amount)
    before = payment.sums
    if before.refunding and charge.gone.refunded > before.refunded:
        raise Overtaken(f"A refund of payment {payment.id} is in progress.")
    moves = missing(before, charge.gone, takes_back=returned is not None)
    for move, amount in moves:
        ledger.post(move, payment.id, amount, payment.currency)
        _report(payment, move, amount)
    payment.settle()
    if not (moves or returned):
        return False
    if payment.order_id is not None:
        emit(notice(payment, payment.order_id))
    return True


def missing(booked: Sums, gone: Gone, takes_back: bool) -> list[tuple[Move, int]]:
    """From the ledger's sums to the provider's, first what comes back. Excess is left to reconciliation."""
    excess = gone.refunded - booked.refunded
    found = min(max(excess, 0), booked.settled)
    returned = min(max(-excess, 0), booked.refunded_externally) if takes_back else 0
    reversed_ = max(booked.charged_back - gone.charged_back, 0)
    lost = max(gone.charged_back - booked.charged_back, 0)
    withheld = gone.disputed + lost - booked.disputed
    won = max(-withheld, 0)
    left = booked.refundable + found + returned + reversed_ + won
    refunded = min(max(excess, 0), left)
    newly_withheld = min(max(withheld, 0), left - refunded)
    moves = [
        (Move.SETTLEMENT_FOUND, found),
        (Move.EXTERNAL_RETURNED, returned),
        (Move.CHARGEBACK_RETURNED, reversed_),
        (Move.DISPUTE_WON, won),
        (Move.EXTERNAL_REFUND, refunded),
        (Move.DISPUTED, newly_withheld),
        (Move.DISPUTE_LOST, min(lost, booked.disputed - won + newly_withheld)),
    ]
    return [(move, amount) for move, amount in moves if amount]


def settle(payment: Payment, amount: int) -> None:
    """Staff returned `amount` by other means; what is booked already is not counted twice."""
    if settled := min(amount, payment.sums.refundable):
        ledger.post(Move.SETTLED, payment.id, settled, payment.currency)
        _report(payment, Move.SETTLED, settled)
        payment.settle()


def warn_of_fraud(payment: Payment) -> None:
    """In no transaction."""
    FRAUD_WARNINGS.inc()
    ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
    log.warning("provider warns of fraud", **ids, provider=payment.provider)


def notice(payment: Payment, order_id: UUID) -> PaymentMovedExternally:
    sums, position = payment.sums, ledger.last_position(payment.id)
    # The order was never notified of ours.
    returned = sum(r.amount for r in Refund.of_payment(payment.id, RefundStatus.RETURNED) if r.requested_by != BY_US)
    totals = (sums.refunded_externally - returned, sums.charged_back, sums.disputed)
    return PaymentMovedExternally(order_id, payment.id, payment.currency, *totals, position)


def _report(payment: Payment, move: Move, amount: int) -> None:
    postgres.after_commit(MOVES.labels(move).inc)
    ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
    log.warning("money moved externally", **ids, move=move, amount=amount, currency=payment.currency)
