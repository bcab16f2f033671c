"""Replies to orders, from stored state alone, so that repeats get the same one."""

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
    """None while the outcome is unknown."""
    assert payment.order_id is not None
    if payment.is_called_off or payment.status in (Status.DECLINED, Status.VOIDED):
        return PaymentDeclined(payment.order_id, payment.id, payment.reason)
    return None if payment.status == Status.PENDING else PaymentAuthorized(payment.order_id, payment.id)


def capture(payment: Payment) -> PaymentCaptured | CaptureRefused | None:
    """None while the outcome is unknown."""
    assert payment.order_id is not None
    if payment.is_called_off or payment.status in (Status.DECLINED, Status.VOIDED, Status.FAILED):
        return CaptureRefused(payment.order_id, payment.id, payment.reason)
    if payment.status in (Status.PENDING, Status.AUTHORIZED):
        return None
    return PaymentCaptured(payment.order_id, payment.id, payment.sums.captured, payment.currency)


def voided(payment: Payment) -> PaymentVoided | None:
    """None while money is held or captured."""
    assert payment.order_id is not None
    return PaymentVoided(payment.order_id, payment.id) if payment.is_over else None


def refund(refund: Refund, payment: Payment) -> PaymentRefunded | RefundRefused | None:
    """None while the outcome is unknown."""
    assert payment.order_id is not None
    if refund.status == RefundStatus.REFUSED:
        return RefundRefused(
            payment.order_id, refund.id, Reason.named(refund.refusal_reason or "", Reason.REFUND_REFUSED)
        )
    if refund.status == RefundStatus.REFUNDED:
        return PaymentRefunded(payment.order_id, payment.id, refund.id, refund.amount, payment.currency)
    return None
