"""The life of an order, top to bottom. A failed or refused step cancels it; unawaited replies have no effect."""

from collections.abc import Sequence
from uuid import uuid4

from chassis.messaging.handlers import Handlers
from chassis.messaging.message import Message
from chassis.storage import rows
from contracts import money
from contracts.orders import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPlaced,
    OrderRefunded,
    OrderRefundReturned,
    OrderSettledExternally,
    OrderShipped,
    OrderShortfallAccepted,
    OrderStuck,
)
from contracts.payments import (
    AuthorizePayment,
    CapturePayment,
    CaptureRefused,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentMovedExternally,
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
from services.orders.models import Event, InvalidTransition, Order, OrderStatus, Outcome
from services.orders.models.steps import command_of, key_of

handlers = Handlers("orders")

MISSING = {
    "uncollected": "{} of its payment was not collected",
    "external": "{} of its payment was returned outside this system",
    "disputed": "{} of its payment is disputed",
}
"""By the keys of `Order.missing`."""


@handlers.locking
def lock_orders(messages: Sequence[Message]) -> None:
    rows.lock(Order, [message.subject for message in messages])


def place(placed: OrderPlaced) -> Order:
    order = Order.place(placed)
    order.emit(ReserveStock(order.id, {line.product_id: line.quantity for line in placed.lines}))
    return order


@handlers.on(StockReserved)
def stock_reserved(event: StockReserved) -> None:
    order = Order.get_for_update(event.order_id)
    if order.accept(event):
        order.emit(AuthorizePayment(order.id, order.user_id, order.total_amount, order.currency, order.payment_method))


@handlers.on(StockRefused)
def stock_refused(event: StockRefused) -> None:
    order = Order.get_for_update(event.order_id)
    if order.accept(event):
        cancel(order, event.reason)


@handlers.on(PaymentAuthorized)
def payment_authorized(event: PaymentAuthorized) -> None:
    order = Order.get_for_update(event.order_id)
    if order.accept(event):
        order.emit(
            OrderConfirmed(order.id, order.user_id, order.lines, order.total_amount, order.currency),
            CommitStock(order.id),
            CapturePayment(order.id),
        )


@handlers.on(PaymentDeclined)
def payment_declined(event: PaymentDeclined) -> None:
    order = Order.get_for_update(event.order_id)
    if order.accept(event):
        cancel(order, event.reason)


@handlers.on(StockCommitted)
def stock_committed(event: StockCommitted) -> None:
    order = Order.get_for_update(event.order_id)
    if order.accept(event):
        undo(order)


@handlers.on(PaymentCaptured)
def payment_captured(event: PaymentCaptured) -> None:
    order = Order.get_for_update(event.order_id)
    if order.record_money(event):
        undo(order)


@handlers.on(CaptureRefused)
def capture_refused(event: CaptureRefused) -> None:
    order = Order.get_for_update(event.order_id)
    if order.accept(event):
        cancel(order, event.reason)


def ship(order: Order) -> None:
    """Raises InvalidTransition, also while stock or payment is unsettled, or money is missing."""
    if order.open_steps:
        raise InvalidTransition("This order cannot be shipped yet: its stock or payment is still being settled.")
    if order.unaccepted:
        parts = [
            MISSING[what].format(money.text(amount, order.currency))
            for what, amount in order.missing.items()
            if amount > 0
        ]
        raise InvalidTransition(
            f"This order cannot be shipped: {' and '.join(parts)}."
            " If it is to be shipped nevertheless, an operator runs `./souk sagas settle`."
        )
    order.emit(OrderShipped(order.id, order.user_id))


def deliver(order: Order) -> None:
    order.emit(OrderDelivered(order.id, order.user_id))


# Undo, once it is known whether there is anything to undo.


def cancel(order: Order, reason: Reason, note: Note | None = None) -> None:
    """Repeating it undoes what is left. Raises InvalidTransition once shipped."""
    if not order.is_called_off:
        order.emit(OrderCancelled(order.id, order.user_id, reason, note))
    undo(order)


def undo(order: Order) -> None:
    """Once."""
    if order.is_called_off:
        _undo_stock(order)
        _undo_payment(order)


def _undo_stock(order: Order) -> None:
    if order.has_requested(CommitStock):
        # Without a reply there may be nothing to restock.
        if order.outcome(CommitStock) == Outcome.DONE and not order.has_requested(RestockStock):
            order.emit(RestockStock(order.id))
    elif order.outcome(ReserveStock) != Outcome.REFUSED and not order.has_requested(ReleaseStock):
        order.emit(ReleaseStock(order.id))


def _undo_payment(order: Order) -> None:
    if order.has_requested(VoidPayment):
        return  # Payments undoes whatever happened.
    if order.captured_amount:
        if order.refundable:
            reason = Reason(order.reason) if order.reason else Reason.REFUNDED_BY_SHOP
            order.emit(RefundPayment(order.id, uuid4(), order.refundable, order.currency, reason))
    elif order.is_awaiting(CapturePayment):
        return  # The reply decides between refund and void.
    elif order.has_requested(AuthorizePayment) and order.outcome(AuthorizePayment) != Outcome.REFUSED:
        order.emit(VoidPayment(order.id))


@handlers.on(StockReleased)
def stock_released(event: StockReleased) -> None:
    Order.get_for_update(event.order_id).accept(event)


@handlers.on(StockRestocked)
def stock_restocked(event: StockRestocked) -> None:
    Order.get_for_update(event.order_id).accept(event)


@handlers.on(PaymentVoided)
def payment_voided(event: PaymentVoided) -> None:
    Order.get_for_update(event.order_id).accept(event)


@handlers.on(PaymentRefunded)
def payment_refunded(event: PaymentRefunded) -> None:
    order = Order.get_for_update(event.order_id)
    reason, note = _refund_reason(order, event)
    if order.record_money(event):
        order.emit(OrderRefunded(order.id, order.user_id, event.amount, event.currency, reason, note))
        undo(order)


@handlers.on(PaymentMovedExternally)
def payment_moved_externally(event: PaymentMovedExternally) -> None:
    """Missing money holds the order back."""
    order = Order.get_for_update(event.order_id)
    if event.position <= order.movement:
        return
    change = order.external_change(event.refunded + event.charged_back)
    order.record(event)
    if change < 0:
        refund_returned(order, -change)
        return
    if change:
        reason = Reason.DISPUTE_LOST if event.charged_back else Reason.REFUNDED_EXTERNALLY
        order.emit(OrderRefunded(order.id, order.user_id, change, event.currency, reason))
    undo(order)


def refund_returned(order: Order, amount: int) -> None:
    """Not repeated: it would come back again."""
    order.record(OrderRefundReturned(order.id, amount, order.currency))
    if order.is_called_off and order.refundable:
        order.record(OrderStuck(order.id, Reason.REFUND_RETURNED, RefundPayment.type))


def settle(order: Order, by: str) -> None:
    """Staff repaid a called-off order by other means, or ship one with money missing. Raises InvalidTransition."""
    if order.status == OrderStatus.CONFIRMED:
        _accept_shortfall(order, by)
        return
    if any(command_of(key) in (RefundPayment, VoidPayment) for key in order.open_steps):
        raise InvalidTransition(
            "Payments may still return the money. Wait for its reply, or the customer gets it twice."
        )
    owed = order.refundable
    if not (order.is_called_off and owed):
        raise InvalidTransition("This order owes no refund.")
    order.emit(
        OrderSettledExternally(order.id, owed, order.currency, by),
        OrderRefunded(order.id, order.user_id, owed, order.currency, Reason.REFUNDED_EXTERNALLY),
    )


def _accept_shortfall(order: Order, by: str) -> None:
    if order.open_steps:
        raise InvalidTransition("This order's stock or payment is still being settled.")
    if not order.unaccepted:
        raise InvalidTransition("No money is missing from this order.")
    order.record(OrderShortfallAccepted(order.id, order.unaccepted, order.currency, by))


def _refund_reason(order: Order, refunded: PaymentRefunded) -> tuple[Reason, Note | None]:
    step = order.steps.get(key_of(refunded, RefundPayment))
    request = Event.at(order.id, step.version).message if step is not None and step.attempts else None
    return (request.reason, request.note) if isinstance(request, RefundPayment) else (Reason.REFUNDED_BY_SHOP, None)


@handlers.on(RefundRefused)
def refund_refused(event: RefundRefused) -> None:
    """Not repeated: it would be refused again."""
    order = Order.get_for_update(event.order_id)
    if order.accept(event) and order.is_called_off and not order.is_settled:
        order.record(OrderStuck(order.id, event.reason, key_of(event, RefundPayment)))
