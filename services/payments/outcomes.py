"""What follows from a response, webhook or timeout. Callers hold the payment's lock."""

from collections.abc import Mapping
from functools import partial
from uuid import UUID

from prometheus_client import Counter
from structlog import get_logger

from chassis.messaging.message import Message
from chassis.storage import postgres
from chassis.storage.outbox import emit, enqueue
from contracts.reasons import Reason
from services.payments import external, replies
from services.payments.models import NEXT, Payment, Refund, RefundStatus, Status
from services.payments.models.refund import BY_US
from services.payments.providers.interface import Charge, Repayment

log = get_logger(__name__)

ADVANCE = "payments.advance"

REFUND = "payments.refund"

PROCESS_WEBHOOK = "payments.process_webhook"

PAYMENTS = Counter("souk_payments_total", "Changes of payments at the provider, by new status.", ["status"])
REFUNDS = Counter("souk_refunds_total", "Finished refunds, by status.", ["status"])
MONEY = Counter(
    "souk_payments_money_total",
    "Money captured and refunded at customers' wish, in minor units. The ledger has the exact sums.",
    ["movement", "currency"],
)


def record_charge(payment: Payment, charge: Charge) -> None:
    was_pending = payment.status == Status.PENDING
    payment.provider_reference = charge.reference or payment.provider_reference
    payment.action_url = charge.action_url
    if charge.status == Status.PENDING:
        return
    if charge.status == Status.FAILED and not payment.is_called_off:
        call_off(payment, charge.decline_reason or Reason.FAILED)
        return
    payment.transition_to(charge.status, charge.decline_reason, charge.captured)
    _report(payment)
    if charge.status == Status.CAPTURED:
        postgres.after_commit(partial(MONEY.labels("captured", payment.currency).inc, charge.captured))
    if payment.order_id is not None and not payment.is_called_off:
        if was_pending:
            _emit(replies.authorization(payment))
        if Status.CAPTURED in (payment.status, payment.goal):
            _emit(replies.capture(payment))
    # Before the next step: a new refund could explain what moved.
    external.book(payment, charge)
    continue_payment(payment)


def observe_charge(payment: Payment, charge: Charge, returned: Mapping[UUID, Reason]) -> None:
    """Unless out of date. `returned`: see `external.book`. Raises Overtaken."""
    if charge.status == Status.PENDING or charge.status in NEXT.get(Status(payment.status), ()):
        record_charge(payment, charge)
    elif external.book(payment, charge, returned):
        continue_payment(payment)
    for refund in Refund.of_payment(payment.id, RefundStatus.PENDING):
        start_refund(refund, payment)


def call_off(payment: Payment, reason: Reason) -> None:
    """Notifies the order at once."""
    was_pending = payment.status == Status.PENDING
    payment.call_off(reason)
    log.warning("payment called off", payment_id=str(payment.id), order_id=str(payment.order_id), reason=reason)
    if payment.order_id is not None:
        _emit(replies.authorization(payment) if was_pending else replies.capture(payment))
    continue_payment(payment)


def continue_payment(payment: Payment) -> None:
    """Also starts refunds that waited for the capture."""
    if payment.is_unfinished:
        enqueue(ADVANCE, payment.id)
    if not payment.may_yet_be_captured:
        for refund in Refund.of_payment(payment.id, RefundStatus.WAITING):
            refund.begin(payment)
            start_refund(refund, payment)
    if payment.is_called_off:
        _refund_capture(payment)
        _reply_to_void(payment)


def start_refund(refund: Refund, payment: Payment) -> None:
    if refund.is_pending:
        enqueue(REFUND, refund.id)
    else:
        _reply_to_refund(refund, payment)


def record_repayment(refund: Refund, payment: Payment, repayment: Repayment, charge: Charge | None = None) -> None:
    """Raises Overtaken."""
    if repayment.status == RefundStatus.PENDING:
        refund.provider_reference = repayment.reference
        return
    refund.settle(payment, repayment.reference, repayment.refusal_reason)
    postgres.after_commit(REFUNDS.labels(refund.status).inc)
    if refund.status == RefundStatus.REFUNDED:
        postgres.after_commit(partial(MONEY.labels("refunded", payment.currency).inc, refund.amount))
    log_event = log.error if refund.status == RefundStatus.REFUSED else log.info
    ids = {"refund_id": str(refund.id), "payment_id": str(payment.id), "order_id": str(payment.order_id)}
    log_event("refund finished", **ids, status=refund.status, reason=refund.refusal_reason)
    if charge is not None:
        external.book(payment, charge)
    _reply_to_refund(refund, payment)
    if payment.is_called_off:
        _reply_to_void(payment)


def _refund_capture(payment: Payment) -> None:
    if payment.status == Status.CAPTURED and (left := payment.sums.refundable):
        start_refund(Refund.of(payment, left, payment.reason, BY_US), payment)


def _report(payment: Payment) -> None:
    postgres.after_commit(PAYMENTS.labels(payment.status).inc)
    log_event = log.error if payment.went_wrong else log.info
    ids = {"payment_id": str(payment.id), "order_id": str(payment.order_id)}
    log_event("payment changed", **ids, status=payment.status, reason=payment.decline_reason)


def _reply_to_refund(refund: Refund, payment: Payment) -> None:
    """Our own need none beyond the void's."""
    if payment.order_id is not None and refund.requested_by != BY_US:
        _emit(replies.refund(refund, payment))


def _reply_to_void(payment: Payment) -> None:
    if payment.order_id is not None:
        _emit(replies.voided(payment))


def _emit(reply: Message | None) -> None:
    if reply is not None:
        emit(reply)
