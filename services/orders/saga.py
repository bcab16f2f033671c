"""The life of an order, top to bottom: place, reserve stock, authorise payment, confirm, sell and capture; then its undoing.

Answers may come twice, late, or for an order that was cancelled meanwhile: only one that the order awaits moves it.
Until it is confirmed any step may fail, and cancels. From then on each is asked for until it is done; a refusal still cancels.
"""

from uuid import uuid4

from chassis.messaging.handlers import Handlers
from contracts.orders import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    OrderStuck,
)
from contracts.payments import (
    AuthorizePayment,
    CapturePayment,
    CaptureRefused,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    RefundPayment,
    RefundRefused,
    VoidPayment,
)
from contracts.reasons import Note, Reason
from contracts.stock import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    RestockStock,
    StockCommitted,
    StockRefused,
    StockReleased,
    StockReserved,
    StockRestocked,
)
from services.orders.models import Event, Order, Outcome, OutOfTurn
from services.orders.models.steps import key_of

handlers = Handlers("orders")


def place(placed: OrderPlaced) -> Order:
    order = Order.place(placed)
    order.emit(ReserveStock(order.id, {line.product_id: line.quantity for line in placed.lines}))
    return order


@handlers.on(StockReserved)
def stock_reserved(event: StockReserved) -> None:
    order = Order.get_for_update(event.order_id)
    if order.hear(event):
        order.emit(AuthorizePayment(order.id, order.user_id, order.total_amount, order.currency, order.payment_method))


@handlers.on(StockRefused)
def stock_refused(event: StockRefused) -> None:
    """Nothing could be held; or, when it was to be sold, what was held had expired and is gone."""
    order = Order.get_for_update(event.order_id)
    if order.hear(event):
        cancel(order, event.reason)


@handlers.on(PaymentAuthorized)
def payment_authorized(event: PaymentAuthorized) -> None:
    order = Order.get_for_update(event.order_id)
    if order.hear(event):
        order.emit(
            OrderConfirmed(order.id, order.user_id, order.lines, order.total_amount, order.currency),
            CommitStock(order.id),
            CapturePayment(order.id),
        )


@handlers.on(PaymentDeclined)
def payment_declined(event: PaymentDeclined) -> None:
    order = Order.get_for_update(event.order_id)
    if order.hear(event):
        cancel(order, event.reason)


@handlers.on(StockCommitted)
def stock_committed(event: StockCommitted) -> None:
    order = Order.get_for_update(event.order_id)
    if order.hear(event):
        undo(order)


@handlers.on(PaymentCaptured)
def payment_captured(event: PaymentCaptured) -> None:
    order = Order.get_for_update(event.order_id)
    if order.learn(event):
        undo(order)


@handlers.on(CaptureRefused)
def capture_refused(event: CaptureRefused) -> None:
    order = Order.get_for_update(event.order_id)
    if order.hear(event):
        cancel(order, event.reason)


def ship(order: Order) -> None:
    """Raises OutOfTurn, also as long as its goods or its money are not where they belong."""
    if order.open_steps:
        raise OutOfTurn("This order cannot be shipped yet: its goods or its payment are being settled.")
    order.emit(OrderShipped(order.id, order.user_id))


def deliver(order: Order) -> None:
    order.emit(OrderDelivered(order.id, order.user_id))


# The undoing. Each part is undone once, as soon as it is known whether there is anything to undo.


def cancel(order: Order, reason: Reason, note: Note | None = None) -> None:
    """Cancel and undo; of one that is cancelled already, what is left to undo. Raises OutOfTurn once it is shipped."""
    if not order.is_called_off:
        order.emit(OrderCancelled(order.id, order.user_id, reason, note))
    undo(order)


def undo(order: Order) -> None:
    """Ask for all back that an order which is called off has, or may yet get. Again asks for nothing more."""
    if order.is_called_off:
        _undo_stock(order)
        _undo_payment(order)


def _undo_stock(order: Order) -> None:
    if order.has_asked(CommitStock):
        # While that is unanswered nobody knows whether there is anything to bring back.
        if order.outcome(CommitStock) == Outcome.DONE and not order.has_asked(RestockStock):
            order.emit(RestockStock(order.id))
    elif order.outcome(ReserveStock) != Outcome.REFUSED and not order.has_asked(ReleaseStock):
        order.emit(ReleaseStock(order.id))


def _undo_payment(order: Order) -> None:
    if order.has_asked(VoidPayment):
        return  # Payments then sees to it that the order has cost nothing, whatever comes out yet.
    if order.captured_amount:
        if order.refundable:
            reason = Reason(order.reason) if order.reason else Reason.REFUNDED_BY_SHOP
            order.emit(RefundPayment(order.id, uuid4(), order.refundable, order.currency, reason))
    elif order.is_awaiting(CapturePayment):
        return  # Its answer decides between a refund and a void.
    elif order.has_asked(AuthorizePayment) and order.outcome(AuthorizePayment) != Outcome.REFUSED:
        order.emit(VoidPayment(order.id))


@handlers.on(StockReleased)
def stock_released(event: StockReleased) -> None:
    Order.get_for_update(event.order_id).hear(event)


@handlers.on(StockRestocked)
def stock_restocked(event: StockRestocked) -> None:
    Order.get_for_update(event.order_id).hear(event)


@handlers.on(PaymentVoided)
def payment_voided(event: PaymentVoided) -> None:
    Order.get_for_update(event.order_id).hear(event)


@handlers.on(PaymentRefunded)
def payment_refunded(event: PaymentRefunded) -> None:
    """Asked for by us, or by whoever refunds at the payments service."""
    order = Order.get_for_update(event.order_id)
    reason, note = _why(order, event)
    if order.learn(event):
        order.emit(OrderRefunded(order.id, order.user_id, event.amount, event.currency, reason, note))
        undo(order)


def _why(order: Order, refunded: PaymentRefunded) -> tuple[Reason, Note | None]:
    """What was given as the reason when the refund was asked for."""
    step = order.steps.get(key_of(refunded, RefundPayment))
    asked = Event.at(order.id, step.version).message if step is not None and step.attempts else None
    return (asked.reason, asked.note) if isinstance(asked, RefundPayment) else (Reason.REFUNDED_BY_SHOP, None)


@handlers.on(RefundRefused)
def refund_refused(event: RefundRefused) -> None:
    """To ask for the same again would be refused again: what a cancelled order is owed is now a person's business."""
    order = Order.get_for_update(event.order_id)
    if order.hear(event) and order.is_called_off and not order.is_settled:
        order.record(OrderStuck(order.id, event.reason, key_of(event, RefundPayment)))
