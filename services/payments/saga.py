"""What orders ask of payments, and the answers: authorise, capture, void. The provider is asked later, by the task.

Any message may come twice, late or before its forerunner. A payment that is settled answers again what it answered first.
Whichever of capture and void was asked for first is done; the other is dead, for a person to look at.
"""

from chassis.inbox import Listener
from chassis.messages import (
    AuthorizePayment,
    CapturePayment,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    VoidPayment,
)
from chassis.outbox import emit, enqueue
from services.payments import provider
from services.payments.models import CANCELLED, Payment, Status, Terms
from services.payments.settings import Settings

ADVANCE = "payments.advance"
"""The task that brings a payment a step nearer to its goal."""

listener = Listener("payments")


@listener.on(AuthorizePayment)
def authorize_payment(command: AuthorizePayment) -> None:
    terms = Terms(command.user_id, command.amount, command.currency, command.payment_method)
    payment = Payment.for_order(command.order_id, terms, provider.default())
    if payment.status == Status.PENDING and payment.asked_at is None and (reason := objection(payment)):
        payment.become(Status.DECLINED, reason)
    answer = authorization(payment)
    if answer is None:
        enqueue(ADVANCE, payment.id)
    else:
        emit(answer)


@listener.on(CapturePayment)
def capture_payment(command: CapturePayment) -> None:
    payment = Payment.asked_for_by(command.order_id)
    payment.capture()
    if payment.is_unfinished:
        enqueue(ADVANCE, payment.id)
    else:
        emit(captured(payment))


@listener.on(VoidPayment)
def void_payment(command: VoidPayment) -> None:
    payment = Payment.called_off(command.order_id, provider.default())
    payment.cancel()
    if payment.is_unfinished:
        enqueue(ADVANCE, payment.id)


def objection(payment: Payment) -> str | None:
    """Why the provider need not be asked."""
    if not payment.payment_method:
        return "invalid_payment_method"
    return None if payment.currency in Settings.current().currencies else "invalid_currency"


def authorization(payment: Payment) -> PaymentAuthorized | PaymentDeclined | None:
    """What an order hears that asks for this payment; None as long as nobody knows."""
    assert payment.order_id is not None
    if payment.is_cancelled:
        return PaymentDeclined(payment.order_id, payment.id, CANCELLED)
    if payment.status == Status.DECLINED:
        return PaymentDeclined(payment.order_id, payment.id, payment.decline_reason or "declined")
    return None if payment.status == Status.PENDING else PaymentAuthorized(payment.order_id, payment.id)


def captured(payment: Payment) -> PaymentCaptured:
    assert payment.order_id is not None
    return PaymentCaptured(payment.order_id, payment.id, payment.minor_amount, payment.currency)
