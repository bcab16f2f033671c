"""What follows from news of a payment: its status and books, what the order hears, and what is to be done next.

News come from the provider's answers, from its webhooks, and from time that ran out. Whoever brings them holds the payment's
lock. All that is said and done here is in the same transaction.
"""

from prometheus_client import Counter
from structlog import get_logger

from chassis.messaging.message import Message
from chassis.storage.outbox import emit, enqueue
from contracts.reasons import Reason
from services.payments import replies
from services.payments.models import NEXT, Payment, Refund, RefundStatus, Status
from services.payments.models.refund import BY_US
from services.payments.providers.interface import Charge, Repayment

log = get_logger(__name__)

ADVANCE = "payments.advance"
"""The task that brings a payment a step nearer to its goal."""

REFUND = "payments.refund"
"""The task that has the provider give money back."""

HEED = "payments.heed"
"""The task that looks into what a webhook told of."""

PAYMENTS = Counter("souk_payments_total", "Steps that payments took at the provider, by what they became.", ["status"])
REFUNDS = Counter("souk_refunds_total", "Refunds that ended, by how.", ["status"])


def charge_is(payment: Payment, charge: Charge) -> None:
    """The provider says so of the payment's charge. A charge that FAILED is one that it will neither capture nor let go."""
    was_pending = payment.status == Status.PENDING
    payment.provider_reference = charge.reference or payment.provider_reference
    payment.action_url = charge.action_url
    if charge.status == Status.PENDING:
        return
    if charge.status == Status.FAILED and not payment.is_called_off:
        call_off(payment, charge.decline_reason or Reason.FAILED)
        return
    payment.transition_to(charge.status, charge.decline_reason)
    _note(payment)
    if payment.order_id is not None and not payment.is_called_off:
        if was_pending:
            _tell(replies.authorization(payment))
        if Status.CAPTURED in (payment.status, payment.goal):
            _tell(replies.capture(payment))
    go_on(payment)


def learn(payment: Payment, charge: Charge) -> None:
    """The provider shows the charge so, unasked for any step: what is new is news, what the payment is past is not."""
    if charge.status == Status.PENDING or charge.status in NEXT.get(Status(payment.status), ()):
        charge_is(payment, charge)
    for refund in Refund.of_payment(payment.id, RefundStatus.PENDING):
        start(refund, payment)


def call_off(payment: Payment, reason: Reason) -> None:
    """For a reason of ours: the order hears at once that it will not be paid, and what was held or taken goes back."""
    was_pending = payment.status == Status.PENDING
    payment.call_off(reason)
    log.warning("payment called off", payment_id=str(payment.id), order_id=str(payment.order_id), reason=reason)
    if payment.order_id is not None:
        _tell(replies.authorization(payment) if was_pending else replies.capture(payment))
    go_on(payment)


def go_on(payment: Payment) -> None:
    """Start what is left to do about the payment as it is, refunds that waited for it included."""
    if payment.is_unfinished:
        enqueue(ADVANCE, payment.id)
    if not payment.may_yet_be_captured:
        for refund in Refund.of_payment(payment.id, RefundStatus.WAITING):
            refund.begin(payment)
            start(refund, payment)
    if payment.is_called_off:
        _give_back(payment)
        _tell_voided(payment)


def start(refund: Refund, payment: Payment) -> None:
    """Have a new refund made, unless it was refused at once or waits."""
    if refund.is_pending:
        enqueue(REFUND, refund.id)
    else:
        _tell_refund(refund, payment)


def refund_is(refund: Refund, payment: Payment, repayment: Repayment) -> None:
    """The provider says so of the refund."""
    if repayment.status == RefundStatus.PENDING:
        refund.provider_reference = repayment.reference
        return
    refund.settle(payment, repayment.reference, repayment.refusal_reason)
    REFUNDS.labels(refund.status).inc()
    report = log.error if refund.status == RefundStatus.REFUSED else log.info
    ids = {"refund_id": str(refund.id), "payment_id": str(payment.id), "order_id": str(payment.order_id)}
    report("refund ended", **ids, status=refund.status, reason=refund.refusal_reason)
    _tell_refund(refund, payment)
    if payment.is_called_off:
        _tell_voided(payment)


def _give_back(payment: Payment) -> None:
    """A payment that was called off and is captured all the same costs the customer nothing in the end."""
    if payment.status == Status.CAPTURED and (left := payment.sums.refundable):
        start(Refund.of(payment, left, payment.reason, BY_US), payment)


def _note(payment: Payment) -> None:
    PAYMENTS.labels(payment.status).inc()
    report = log.error if payment.went_wrong else log.info
    ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
    report("payment moved", **ids, status=payment.status, reason=payment.decline_reason)


def _tell_refund(refund: Refund, payment: Payment) -> None:
    """Of what we give back on our own account the order hears by the void's answer."""
    if payment.order_id is not None and refund.asked_by != BY_US:
        _tell(replies.refund(refund, payment))


def _tell_voided(payment: Payment) -> None:
    if payment.order_id is not None:
        _tell(replies.voided(payment))


def _tell(answer: Message | None) -> None:
    if answer is not None:
        emit(answer)
