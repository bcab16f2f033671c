"""Money back for an order that stands: all of it or a part, as often as something is left."""

from uuid import uuid4

from chassis.base.problems import Conflict
from contracts import money
from contracts.payments import RefundPayment
from contracts.reasons import Note, Reason
from services.orders.models import Order, OutOfTurn

MAX_REFUNDS = 50


class NothingLeft(Conflict):
    type, title = "/problems/refund-too-large", "Refund exceeds the refundable amount"


def refund(order: Order, amount: int | None, note: Note | None = None) -> None:
    """Ask for `amount` in minor units, or all that is left. Raises NothingLeft, and OutOfTurn for a called-off order.

    What is refunded, and what is on its way back, never exceeds what was captured: `order` is locked.
    """
    if order.is_called_off:
        raise OutOfTurn(f"This order is {order.status}: whatever was paid goes back by itself.", current=order.status)
    left = order.refundable
    wanted = left if amount is None else amount
    if not 0 < wanted <= left or sum("refund" in key for key in order.steps) >= MAX_REFUNDS:
        amount_left = money.text(left, order.currency)
        raise NothingLeft(f"{amount_left} of this payment can still be refunded.", refundable=amount_left)
    order.emit(RefundPayment(order.id, uuid4(), wanted, order.currency, Reason.REFUNDED_BY_SHOP, note))
