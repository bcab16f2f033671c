"""What a payment may be, and in which order."""

from enum import StrEnum

from chassis.problems import Conflict

CANCELLED = "cancelled"
"""Why a payment that was called off is not made."""


class Status(StrEnum):
    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    FAILED = "failed"
    """Authorised, and then the provider would neither capture nor void it."""


NEXT = {
    Status.PENDING: {Status.AUTHORIZED, Status.CAPTURED, Status.DECLINED, Status.VOIDED},
    Status.AUTHORIZED: {Status.CAPTURED, Status.VOIDED, Status.FAILED},
}
"""What a payment may become from each status; from any other, nothing."""


class OutOfTurn(Conflict):
    type, title = "/problems/payment-out-of-turn", "The payment's status forbids this"
