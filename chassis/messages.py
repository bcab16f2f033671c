"""Every message that services exchange, one dataclass each, and the CloudEvents envelope it travels in.

Commands are imperative, events are past. Money is an `amount` in minor units (cents) beside its ISO 4217 `currency`.
"""

import json
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from chassis.problems import Malformed
from chassis.schemas import faults

REGISTRY: dict[str, type["Message"]] = {}
"""Every message class by its type."""

_ADAPTERS: dict[str, TypeAdapter[Any]] = {}


@dataclass(frozen=True)
class Message:
    """Base of all messages. The first field names what the message is about: its `subject`."""

    type: ClassVar[str]

    def __init_subclass__(cls, type: str, **kwargs: Any) -> None:  # noqa: A002 - CloudEvents names the attribute so
        super().__init_subclass__(**kwargs)
        cls.type = type
        if type in REGISTRY:
            raise TypeError(f"Two messages are called {type}.")
        REGISTRY[type] = cls

    @property
    def subject(self) -> UUID:
        subject: UUID = getattr(self, fields(self)[0].name)
        return subject

    def data(self) -> dict[str, Any]:
        """The fields as JSON values."""
        content: dict[str, Any] = _adapter(type(self)).dump_python(self, mode="json")
        return content

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """The message with these JSON values. Raises pydantic's ValidationError."""
        message: Self = _adapter(cls).validate_python(data)
        return message


def _adapter(cls: type[Message]) -> TypeAdapter[Any]:
    if cls.type not in _ADAPTERS:
        _ADAPTERS[cls.type] = TypeAdapter(cls)
    return _ADAPTERS[cls.type]


@dataclass(frozen=True)
class Envelope:
    """CloudEvents 1.0 in structured JSON, with the traceparent extension. `id` identifies the message to inboxes."""

    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    data: dict[str, Any]
    traceparent: str = ""

    def to_json(self) -> bytes:
        content = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": self.source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "datacontenttype": "application/json",
            "traceparent": self.traceparent,
            "data": self.data,
        }
        return json.dumps(content).encode()

    @classmethod
    def from_json(cls, body: bytes) -> "Envelope":
        """Raises Malformed when the body is no envelope."""
        try:
            return _ENVELOPE.validate_json(body)
        except ValidationError as error:
            raise Malformed(f"Not an envelope: {faults(error)}") from error

    def message(self) -> Message:
        """Raises Malformed when the type is unknown or the data does not fit it."""
        if self.type not in REGISTRY:
            raise Malformed(f"No message is called {self.type}.")
        try:
            return REGISTRY[self.type].of(self.data)
        except ValidationError as error:
            raise Malformed(f"The data does not fit {self.type}: {faults(error)}") from error


_ENVELOPE = TypeAdapter(Envelope)


@dataclass(frozen=True)
class Line:
    """One product of an order, as it was when it was ordered; `unit_amount` in minor units."""

    product_id: UUID
    name: str
    quantity: int
    unit_amount: int
    category: str = ""


# Users


@dataclass(frozen=True)
class UserRegistered(Message, type="user.registered"):
    user_id: UUID
    email: str
    username: str
    first_name: str
    last_name: str


@dataclass(frozen=True)
class UserUpdated(Message, type="user.updated"):
    user_id: UUID
    email: str
    username: str
    first_name: str
    last_name: str


@dataclass(frozen=True)
class UserDeleted(Message, type="user.deleted"):
    user_id: UUID


@dataclass(frozen=True)
class EmailVerificationRequested(Message, type="user.email_verification_requested"):
    """The token never travels: who mails it asks users for it by the request's id."""

    user_id: UUID
    request_id: UUID


@dataclass(frozen=True)
class PasswordResetRequested(Message, type="user.password_reset_requested"):
    user_id: UUID
    request_id: UUID


@dataclass(frozen=True)
class PasswordChanged(Message, type="user.password_changed"):
    user_id: UUID


@dataclass(frozen=True)
class UserPreferencesUpdated(Message, type="user.preferences_updated"):
    user_id: UUID
    locale: str
    time_zone: str
    currency: str
    marketing_consent: bool


# Stock


@dataclass(frozen=True)
class ReserveStock(Message, type="stock.reserve"):
    order_id: UUID
    quantities: dict[UUID, int]
    """Pieces wanted of each product: all or none."""


@dataclass(frozen=True)
class StockReserved(Message, type="stock.reserved"):
    order_id: UUID


@dataclass(frozen=True)
class StockRefused(Message, type="stock.refused"):
    order_id: UUID
    product_id: UUID
    reason: str


@dataclass(frozen=True)
class CommitStock(Message, type="stock.commit"):
    """Sell what is held. Answered by StockRefused where the hold has expired and the pieces are gone."""

    order_id: UUID


@dataclass(frozen=True)
class StockCommitted(Message, type="stock.committed"):
    order_id: UUID


@dataclass(frozen=True)
class ReleaseStock(Message, type="stock.release"):
    """Let go what is held, and what may be asked for yet."""

    order_id: UUID


@dataclass(frozen=True)
class StockReleased(Message, type="stock.released"):
    order_id: UUID


@dataclass(frozen=True)
class RestockStock(Message, type="stock.restock"):
    """The pieces of a sold order come back on hand, once however often this is asked."""

    order_id: UUID


@dataclass(frozen=True)
class StockRestocked(Message, type="stock.restocked"):
    order_id: UUID


@dataclass(frozen=True)
class StockLow(Message, type="stock.low"):
    """Pieces on hand fell to the product's threshold or below: said once each time."""

    product_id: UUID
    sku: str
    on_hand: int
    threshold: int


# Payments


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
class PaymentDeclined(Message, type="payment.declined"):
    order_id: UUID
    payment_id: UUID
    reason: str


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
class CaptureRefused(Message, type="payment.capture_refused"):
    order_id: UUID
    payment_id: UUID
    reason: str


@dataclass(frozen=True)
class VoidPayment(Message, type="payment.void"):
    """Whatever was paid or is being paid: in the end the order has cost nothing."""

    order_id: UUID


@dataclass(frozen=True)
class PaymentVoided(Message, type="payment.voided"):
    """Nothing of the order's money is held or taken any more."""

    order_id: UUID
    payment_id: UUID | None


@dataclass(frozen=True)
class RefundPayment(Message, type="payment.refund"):
    order_id: UUID
    refund_id: UUID
    """Whoever asks chooses it; asking again with the same one refunds nothing more."""

    amount: int
    currency: str
    reason: str


@dataclass(frozen=True)
class PaymentRefunded(Message, type="payment.refunded"):
    order_id: UUID
    payment_id: UUID
    refund_id: UUID
    amount: int
    currency: str


@dataclass(frozen=True)
class RefundRefused(Message, type="payment.refund_refused"):
    order_id: UUID
    refund_id: UUID
    reason: str


# Orders


@dataclass(frozen=True)
class OrderPlaced(Message, type="order.placed"):
    order_id: UUID
    user_id: UUID
    lines: list[Line]
    amount: int
    currency: str
    payment_method: str


@dataclass(frozen=True)
class OrderConfirmed(Message, type="order.confirmed"):
    order_id: UUID
    user_id: UUID
    lines: list[Line]
    amount: int
    currency: str


@dataclass(frozen=True)
class OrderCancelled(Message, type="order.cancelled"):
    order_id: UUID
    user_id: UUID
    reason: str


@dataclass(frozen=True)
class OrderShipped(Message, type="order.shipped"):
    order_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class OrderDelivered(Message, type="order.delivered"):
    order_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class OrderRefunded(Message, type="order.refunded"):
    """Money went back: `amount` of this one refund, of which an order may have several."""

    order_id: UUID
    user_id: UUID
    amount: int
    currency: str
    reason: str


@dataclass(frozen=True)
class OrderStuck(Message, type="order.stuck"):
    """A compensation cannot finish: an operator has to look."""

    order_id: UUID
    reason: str


@dataclass(frozen=True)
class OrderResumed(Message, type="order.resumed"):
    """An operator has whatever is unanswered asked again."""

    order_id: UUID
    by: str
