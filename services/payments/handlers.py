"""Commands from orders, which may come twice, late or out of order. A void is final."""

from dataclasses import replace

from chassis.base.problems import NotFound
from chassis.messaging.handlers import Handlers
from chassis.storage.outbox import emit, enqueue
from chassis.web import card_numbers
from contracts.payments import AuthorizePayment, CapturePayment, RefundPayment, RefundRefused, VoidPayment
from contracts.reasons import Reason
from services.payments import outcomes, providers, replies
from services.payments.models import Payment, Refund, Status, Terms
from services.payments.models.refund import BY_ORDER
from services.payments.settings import Settings

handlers = Handlers("payments")


@handlers.on(AuthorizePayment)
def authorize_payment(command: AuthorizePayment) -> None:
    terms = Terms(command.user_id, command.amount, command.currency, command.payment_method)
    payment = Payment.for_order(command.order_id, terms, providers.default())
    if payment.status == Status.PENDING and payment.requested_at is None and (reason := objection(payment)):
        payment.transition_to(Status.DECLINED, reason)
    reply = replies.authorization(payment)
    if reply is None:
        enqueue(outcomes.ADVANCE, payment.id)
    else:
        emit(reply)


@handlers.on(CapturePayment)
def capture_payment(command: CapturePayment) -> None:
    payment = Payment.of_order(command.order_id)
    if payment is None:
        raise NotFound(f"Order {command.order_id} has no payment.")
    reply = replies.capture(payment)
    if reply is None:
        payment.capture()
        enqueue(outcomes.ADVANCE, payment.id)
    else:
        emit(reply)


@handlers.on(VoidPayment)
def void_payment(command: VoidPayment) -> None:
    payment = Payment.called_off(command.order_id, providers.default())
    payment.call_off()
    outcomes.continue_payment(payment)


@handlers.on(RefundPayment)
def refund_payment(command: RefundPayment) -> None:
    payment = Payment.of_order(command.order_id)
    reason = refund_objection(command, payment)
    if payment is None or reason is not None:
        emit(RefundRefused(command.order_id, command.refund_id, reason or Reason.NOT_CAPTURED))
        return
    refund = Refund.find(command.refund_id)
    if refund is None:
        note = command.note and replace(command.note, text=card_numbers.without_numbers(command.note.text))
        refund = Refund.of(payment, command.amount, command.reason, BY_ORDER, note, command.refund_id)
    outcomes.start_refund(refund, payment)


def objection(payment: Payment) -> Reason | None:
    """Found without asking the provider."""
    if not payment.payment_method:
        return Reason.INVALID_PAYMENT_METHOD
    return None if payment.currency in Settings.current().currencies else Reason.INVALID_CURRENCY


def refund_objection(command: RefundPayment, payment: Payment | None) -> Reason | None:
    if payment is None:
        return Reason.NOT_CAPTURED
    if command.amount <= 0:
        return Reason.INVALID_AMOUNT
    if command.currency != payment.currency:
        return Reason.INVALID_CURRENCY
    existing = Refund.find(command.refund_id)
    return Reason.REFUND_ID_IN_USE if existing is not None and existing.payment_id != payment.id else None
