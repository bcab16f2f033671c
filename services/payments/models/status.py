"""The statuses of payments and refunds, and the transitions between them."""

from enum import StrEnum

from chassis.base.problems import Conflict


class Status(StrEnum):
    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    """In full, by us or externally, disputes lost included."""

    DECLINED = "declined"
    VOIDED = "voided"
    FAILED = "failed"
    """Authorised, and then the provider would neither capture nor void it."""


NEXT = {
    Status.PENDING: {Status.AUTHORIZED, Status.CAPTURED, Status.DECLINED, Status.VOIDED},
    Status.AUTHORIZED: {Status.CAPTURED, Status.VOIDED, Status.FAILED},
    Status.CAPTURED: {Status.REFUNDED},
    # The provider may still capture it, or release it when it expires.
    Status.FAILED: {Status.CAPTURED, Status.VOIDED},
}
"""The transitions from each status; none from the others."""


class RefundStatus(StrEnum):
    WAITING = "waiting"
    """For the capture."""

    PENDING = "pending"
    """Set aside in the ledger, and requested from the provider."""

    REFUNDED = "refunded"
    REFUSED = "refused"


class InvalidTransition(Conflict):
    type, title = "/problems/payment-status", "Not allowed in the payment's current status"
