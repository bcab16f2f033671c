"""Commands from orders, which may come twice, late or out of order. A void is final."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from chassis.base.problems import NotFound
from chassis.messaging.handlers import Handlers
from chassis.storage.outbox import emit, enqueue
from chassis.web import card_numbers
from contracts.orders import OrderSettledExternally
from contracts.payments import AuthorizePayment, CapturePayment, RefundPayment, RefundRefused, VoidPayment
from contracts.reasons import Reason
from services.payments import external, outcomes, providers, replies
from services.payments.models import Payment, Refund, Status, Terms
from services.payments.models.refund import BY_ORDER
from services.payments.settings import Settings

handlers = Handlers("payments")


@handlers.locking
def lock_payments(
    commands: Sequence[AuthorizePayment | CapturePayment | VoidPayment | RefundPayment | OrderSettledExternally],
) -> None:
    """The first command about an order creates its payment."""
    new: dict[UUID, dict[str, Any]] = {}
    for command in commands:
        if isinstance(command, AuthorizePayment):
            new.setdefault(command.order_id, Payment.new(command.order_id, _terms(command), providers.default()))
        elif isinstance(command, VoidPayment):
            new.setdefault(command.order_id, Payment.new_called_off(command.order_id, providers.default()))
    Payment.lock_orders([command.order_id for command in commands], new.values())


@handlers.on(AuthorizePayment)
def authorize_payment(command: AuthorizePayment) -> None:
    payment = _existing(command.order_id)
    payment.set_terms(_terms(command))
    if payment.status == Status.PENDING and payment.requested_at is None and (reason := objection(payment)):
        payment.transition_to(Status.DECLINED, reason)
    reply = replies.authorization(payment)
    if reply is None:
        enqueue(outcomes.ADVANCE, payment.id)
    else:
        emit(reply)


@handlers.on(CapturePayment)
def capture_payment(command: CapturePayment) -> None:
    payment = _existing(command.order_id)
    reply = replies.capture(payment)
    if reply is None:
        payment.capture()
        enqueue(outcomes.ADVANCE, payment.id)
    else:
        emit(reply)


@handlers.on(VoidPayment)
def void_payment(command: VoidPayment) -> None:
    payment = _existing(command.order_id)
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


@handlers.on(OrderSettledExternally)
def order_settled_externally(event: OrderSettledExternally) -> None:
    payment = Payment.of_order(event.order_id)
    if payment is not None:
        external.settle(payment, event.amount)


def _existing(order_id: UUID) -> Payment:
    """Raises NotFound."""
    payment = Payment.of_order(order_id)
    if payment is None:
        raise NotFound(f"Order {order_id} has no payment.")
    return payment


def _terms(command: AuthorizePayment) -> Terms:
    return Terms(command.user_id, command.amount, command.currency, command.payment_method)


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
