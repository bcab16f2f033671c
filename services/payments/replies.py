"""What orders hear of their payments. A function of what is kept, so that who asks again hears the same again."""

from contracts.payments import (
    CaptureRefused,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    RefundRefused,
)
from contracts.reasons import Reason
from services.payments.models import Payment, Refund, RefundStatus, Status


def authorization(payment: Payment) -> PaymentAuthorized | PaymentDeclined | None:
    """To an order that asks for this payment; None as long as nobody knows."""
    assert payment.order_id is not None
    if payment.is_called_off or payment.status in (Status.DECLINED, Status.VOIDED):
        return PaymentDeclined(payment.order_id, payment.id, payment.reason)
    return None if payment.status == Status.PENDING else PaymentAuthorized(payment.order_id, payment.id)


def capture(payment: Payment) -> PaymentCaptured | CaptureRefused | None:
    """To an order that wants the money taken; None as long as nobody knows."""
    assert payment.order_id is not None
    if payment.is_called_off or payment.status in (Status.DECLINED, Status.VOIDED, Status.FAILED):
        return CaptureRefused(payment.order_id, payment.id, payment.reason)
    if payment.status in (Status.PENDING, Status.AUTHORIZED):
        return None
    return PaymentCaptured(payment.order_id, payment.id, payment.amount, payment.currency)


def voided(payment: Payment) -> PaymentVoided | None:
    """To an order that called the payment off; None as long as something of it is held or kept."""
    assert payment.order_id is not None
    return PaymentVoided(payment.order_id, payment.id) if payment.is_over else None


def refund(refund: Refund, payment: Payment) -> PaymentRefunded | RefundRefused | None:
    """To an order whose money goes back; None as long as nobody knows."""
    assert payment.order_id is not None
    if refund.status == RefundStatus.REFUSED:
        return RefundRefused(
            payment.order_id, refund.id, Reason.named(refund.refusal_reason or "", Reason.REFUND_REFUSED)
        )
    if refund.status == RefundStatus.REFUNDED:
        return PaymentRefunded(payment.order_id, payment.id, refund.id, refund.amount, payment.currency)
    return None
