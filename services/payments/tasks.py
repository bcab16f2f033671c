"""The slow part: the provider is asked for a payment's next step, with no transaction open, and its answer is kept.

One task serves every step, since a payment knows its own (`status` and `goal`). It may run twice, at once or late: the
provider gets the same key each time, and only the first answer to a step is kept.
"""

from uuid import UUID

from prometheus_client import Counter
from structlog import get_logger

from chassis import store
from chassis.outbox import emit, enqueue
from chassis.tasks import Tasks
from services.payments import provider
from services.payments.models import Payment, Status
from services.payments.provider import Charge, Provider, Refused
from services.payments.saga import ADVANCE, authorization, captured

log = get_logger(__name__)

PAYMENTS = Counter("souk_payments_total", "Steps that payments took at the provider, by what they became.", ["status"])

tasks = Tasks("payments")


@tasks.task()
def advance(payment_id: UUID) -> None:
    """Raises ProviderUnavailable when it is to be tried again."""
    with store.transaction():
        payment = Payment.locked(payment_id)
        if not payment.is_unfinished:
            return
        payment.ask()
    charge = _next(provider.named(payment.provider), payment)
    with store.transaction():
        current = Payment.locked(payment_id)
        if current.status == payment.status:
            _keep(current, charge)


def _next(provider: Provider, payment: Payment) -> Charge:
    """The payment's charge after its next step. A refusal is believed only once the provider shows no other outcome."""
    try:
        return _step(provider, payment)
    except Refused as refusal:
        found = provider.find(payment.id)
        if found is not None and found.status != payment.status:
            return found
        ended = Status.DECLINED if payment.status == Status.PENDING else Status.FAILED
        return Charge(payment.provider_reference, ended, refusal.reason)


def _step(provider: Provider, payment: Payment) -> Charge:
    if payment.status == Status.PENDING:
        terms = (payment.minor_amount, payment.currency, payment.payment_method, payment.captures_at_once)
        # Also for a payment that was called off meanwhile: to ask again is the one way to know of a charge made or under way.
        return provider.authorize(payment.id, *terms)
    assert payment.provider_reference is not None
    if payment.is_cancelled:
        return provider.void(payment.id, payment.provider_reference)
    return provider.capture(payment.id, payment.provider_reference)


def _keep(payment: Payment, charge: Charge) -> None:
    was_pending = payment.status == Status.PENDING
    payment.provider_reference = charge.reference
    payment.become(charge.status, charge.decline_reason)
    PAYMENTS.labels(payment.status).inc()
    report = log.error if payment.went_wrong else log.info
    ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
    report("payment moved", **ids, status=payment.status, reason=payment.decline_reason)
    if payment.is_unfinished:
        enqueue(ADVANCE, payment.id)
    if payment.order_id is not None:
        _tell(payment, was_pending)


def _tell(payment: Payment, was_pending: bool) -> None:
    """Answer the order; whoever called the payment off awaits no answer."""
    answer = authorization(payment) if was_pending and not payment.is_cancelled else None
    if answer is not None:
        emit(answer)
    if payment.status == Status.CAPTURED:
        emit(captured(payment))
