"""Payment and refund statuses and their transitions."""

from enum import StrEnum

from chassis.base.problems import Conflict


class Status(StrEnum):
    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    """In full, lost disputes included."""

    DECLINED = "declined"
    VOIDED = "voided"
    FAILED = "failed"
    """The provider would neither capture nor void it."""


NEXT = {
    Status.PENDING: {Status.AUTHORIZED, Status.CAPTURED, Status.DECLINED, Status.VOIDED},
    Status.AUTHORIZED: {Status.CAPTURED, Status.VOIDED, Status.FAILED},
    Status.CAPTURED: {Status.REFUNDED},
    # It may still be captured, or expire.
    Status.FAILED: {Status.CAPTURED, Status.VOIDED},
}


class RefundStatus(StrEnum):
    WAITING = "waiting"
    """For the capture."""

    PENDING = "pending"

    REFUNDED = "refunded"
    REFUSED = "refused"
    RETURNED = "returned"
    """By the customer's bank, after it had succeeded."""


class InvalidTransition(Conflict):
    type, title = "/problems/payment-status", "Not allowed in the payment's current status"
