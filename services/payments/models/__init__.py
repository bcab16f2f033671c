"""What the payments service keeps."""

from services.payments.models.payment import Payment
from services.payments.models.refund import Refund
from services.payments.models.status import CANCELLED, RefundStatus, Status
from services.payments.models.terms import Terms

__all__ = ["CANCELLED", "Payment", "Refund", "RefundStatus", "Status", "Terms"]
