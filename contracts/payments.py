"""Commands and events of the payments service. Amounts are in minor units (cents)."""

from dataclasses import dataclass
from uuid import UUID

from chassis.messaging.message import Message
from contracts.reasons import Note, Reason, coded

MAX_PAYMENT = 99_999_999
"""In minor units. Source: Stripe's documentation."""


@dataclass(frozen=True)
class AuthorizePayment(Message, type="payment.authorize"):
    order_id: UUID
    user_id: UUID
    amount: int
    currency: str
    payment_method: str


@dataclass(frozen=True)
class PaymentAuthorized(Message, type="payment.authorized"):
    order_id: UUID
    payment_id: UUID


@dataclass(frozen=True)
class PaymentDeclined(Message, type="payment.declined", upcasters=(coded(),)):
    order_id: UUID
    payment_id: UUID
    reason: Reason


@dataclass(frozen=True)
class CapturePayment(Message, type="payment.capture"):
    order_id: UUID


@dataclass(frozen=True)
class PaymentCaptured(Message, type="payment.captured"):
    order_id: UUID
    payment_id: UUID
    amount: int
    currency: str


@dataclass(frozen=True)
class CaptureRefused(Message, type="payment.capture_refused", upcasters=(coded(),)):
    order_id: UUID
    payment_id: UUID
    reason: Reason


@dataclass(frozen=True)
class VoidPayment(Message, type="payment.void"):
    """In the end the order has cost nothing."""

    order_id: UUID


@dataclass(frozen=True)
class PaymentVoided(Message, type="payment.voided"):
    """Nothing is held or captured."""

    order_id: UUID
    payment_id: UUID | None


@dataclass(frozen=True)
class RefundPayment(Message, type="payment.refund", upcasters=(coded(Reason.REFUNDED_BY_SHOP),)):
    order_id: UUID
    refund_id: UUID
    """Chosen by the sender; a repeat refunds nothing more."""

    amount: int
    currency: str
    reason: Reason
    note: Note | None = None


@dataclass(frozen=True)
class PaymentRefunded(Message, type="payment.refunded"):
    order_id: UUID
    payment_id: UUID
    refund_id: UUID
    amount: int
    currency: str


@dataclass(frozen=True)
class PaymentMovedExternally(Message, type="payment.moved_externally"):
    """Sums so far; the highest `position` is the newest."""

    order_id: UUID
    payment_id: UUID
    currency: str
    refunded: int
    """Without our own refunds, and less those of them that the bank returned: may be below zero."""

    charged_back: int

    disputed: int
    """Withheld during disputes."""

    position: int


@dataclass(frozen=True)
class RefundRefused(Message, type="payment.refund_refused", upcasters=(coded(),)):
    order_id: UUID
    refund_id: UUID
    reason: Reason
