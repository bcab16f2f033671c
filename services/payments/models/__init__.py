"""The payments tables."""

from services.payments.models.method import PaymentMethod
from services.payments.models.payment import Payment
from services.payments.models.reconciliation import Reconciliation
from services.payments.models.refund import Refund
from services.payments.models.status import NEXT, RefundStatus, Status
from services.payments.models.terms import Terms
from services.payments.models.webhook import Webhook

__all__ = [
    "NEXT",
    "Payment",
    "PaymentMethod",
    "Reconciliation",
    "Refund",
    "RefundStatus",
    "Status",
    "Terms",
    "Webhook",
]
