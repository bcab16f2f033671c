"""Full or partial refunds."""

from uuid import uuid4

from chassis.base.problems import Conflict
from contracts import money
from contracts.payments import RefundPayment
from contracts.reasons import Note, Reason
from services.orders.models import InvalidTransition, Order

MAX_REFUNDS = 50


class NotRefundable(Conflict):
    type, title = "/problems/refund-too-large", "Refund exceeds the refundable amount"


def refund(order: Order, amount: int | None, note: Note | None = None) -> None:
    """`amount` in minor units, by default all; `order` is locked. Raises NotRefundable and InvalidTransition."""
    if order.is_called_off:
        raise InvalidTransition(f"A {order.status} order is refunded automatically.", current=order.status)
    left = order.refundable
    requested = left if amount is None else amount
    if not 0 < requested <= left or sum("refund" in key for key in order.steps) >= MAX_REFUNDS:
        raise NotRefundable(
            f"{money.text(left, order.currency)} of this payment can still be refunded.",
            refundable=str(money.from_minor(left)),
        )
    order.emit(RefundPayment(order.id, uuid4(), requested, order.currency, Reason.REFUNDED_BY_SHOP, note))
