"""What a payment and a refund may be, and in which order."""

from enum import StrEnum

from chassis.base.problems import Conflict


class Status(StrEnum):
    PENDING = "pending"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    """All that was captured went back to the customer."""

    DECLINED = "declined"
    VOIDED = "voided"
    FAILED = "failed"
    """Authorised, and then the provider would not let go of it."""


NEXT = {
    Status.PENDING: {Status.AUTHORIZED, Status.CAPTURED, Status.DECLINED, Status.VOIDED},
    Status.AUTHORIZED: {Status.CAPTURED, Status.VOIDED, Status.FAILED},
    Status.CAPTURED: {Status.REFUNDED},
    # An authorisation that nobody could end does so in the end: by the provider's hand, or by its age.
    Status.FAILED: {Status.CAPTURED, Status.VOIDED},
}
"""What a payment may become from each status; from any other, nothing."""


class RefundStatus(StrEnum):
    WAITING = "waiting"
    """For a capture that is still to come."""

    PENDING = "pending"
    """Set aside, and the provider's to do."""

    REFUNDED = "refunded"
    REFUSED = "refused"


class OutOfTurn(Conflict):
    type, title = "/problems/payment-out-of-turn", "The payment's status forbids this"
