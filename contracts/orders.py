"""What the orders service publishes.

Money is an `amount` in minor units (cents) beside its ISO 4217 `currency`.
"""

from dataclasses import dataclass
from uuid import UUID

from chassis.messaging.message import Message
from chassis.messaging.upcasters import added, each

UNKNOWN_CATEGORY = "unknown"

_with_categories = each("lines", added(category=UNKNOWN_CATEGORY))


@dataclass(frozen=True)
class Line:
    """One product of an order, as it was when it was ordered; `unit_amount` in minor units."""

    product_id: UUID
    name: str
    quantity: int
    unit_amount: int
    category: str = ""


@dataclass(frozen=True)
class OrderPlaced(Message, type="order.placed", upcasters=(_with_categories,)):
    order_id: UUID
    user_id: UUID
    lines: list[Line]
    amount: int
    currency: str
    payment_method: str


@dataclass(frozen=True)
class OrderConfirmed(Message, type="order.confirmed", upcasters=(_with_categories,)):
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
