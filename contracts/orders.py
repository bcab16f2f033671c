"""Events of the orders service. Amounts are in minor units (cents)."""

import re
from dataclasses import dataclass
from uuid import UUID

from chassis.messaging.message import Message
from chassis.messaging.upcasters import Data, added, each
from contracts.reasons import Note, Reason, coded

UNKNOWN_CATEGORY = "unknown"

_with_categories = each("lines", added(category=UNKNOWN_CATEGORY))


def _with_a_step(data: Data) -> Data:
    """The reason was a sentence naming the step."""
    silence = re.match("Nobody has answered (.+), asked for", data["reason"])
    if silence is not None:
        return {**data, "reason": Reason.NO_REPLY, "step": silence[1]}
    code = data["reason"].removeprefix("The refund was refused: ")
    return {"step": "payment.refund", **data, "reason": Reason.named(code, Reason.REFUND_REFUSED)}


@dataclass(frozen=True)
class Line:
    """One product, as it was when ordered."""

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
class OrderCancelled(Message, type="order.cancelled", upcasters=(coded(),)):
    order_id: UUID
    user_id: UUID
    reason: Reason
    note: Note | None = None


@dataclass(frozen=True)
class OrderShipped(Message, type="order.shipped"):
    order_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class OrderDelivered(Message, type="order.delivered"):
    order_id: UUID
    user_id: UUID


@dataclass(frozen=True)
class OrderRefunded(Message, type="order.refunded", upcasters=(coded(Reason.REFUNDED_BY_SHOP),)):
    """One of possibly several refunds."""

    order_id: UUID
    user_id: UUID
    amount: int
    currency: str
    reason: Reason
    note: Note | None = None


@dataclass(frozen=True)
class OrderStuck(Message, type="order.stuck", upcasters=(_with_a_step,)):
    """A compensation needs an operator."""

    order_id: UUID
    reason: Reason
    step: str = ""
    """Key of the unfinished step."""


@dataclass(frozen=True)
class OrderSettledExternally(Message, type="order.settled_externally"):
    """Staff returned `amount` by other means."""

    order_id: UUID
    amount: int
    currency: str
    by: str


@dataclass(frozen=True)
class OrderShortfallAccepted(Message, type="order.shortfall_accepted"):
    """Staff will ship although `amount` of the payment is missing."""

    order_id: UUID
    amount: int
    currency: str
    by: str


@dataclass(frozen=True)
class OrderRefundReturned(Message, type="order.refund_returned"):
    """The bank sent `amount` back after it had been refunded or charged back."""

    order_id: UUID
    amount: int
    currency: str


@dataclass(frozen=True)
class OrderResumed(Message, type="order.resumed"):
    """Repeats commands without a reply."""

    order_id: UUID
    by: str
