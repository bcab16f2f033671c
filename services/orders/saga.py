"""The life of an order, top to bottom: place, reserve stock, authorise payment, confirm; a refusal cancels and undoes.

Answers may come twice, late, or for an order that was cancelled meanwhile: only the answer that the order awaits moves it,
every other is ignored. What a cancelled order had asked for was undone when it was cancelled.
"""

from chassis.inbox import Listener
from chassis.messages import (
    AuthorizePayment,
    CapturePayment,
    CommitStock,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPlaced,
    OrderShipped,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    ReleaseStock,
    ReserveStock,
    StockRefused,
    StockReserved,
    VoidPayment,
)
from services.orders.models import Order

listener = Listener("orders")


def place(placed: OrderPlaced) -> Order:
    order = Order.place(placed)
    order.emit(ReserveStock(order.id, {line.product_id: line.quantity for line in placed.lines}))
    return order


@listener.on(StockReserved)
def stock_reserved(event: StockReserved) -> None:
    order = Order.locked(event.order_id)
    if order.awaits == Order.STOCK:
        order.record(event)
        order.emit(AuthorizePayment(order.id, order.user_id, order.amount, order.currency, order.payment_method))


@listener.on(StockRefused)
def stock_refused(event: StockRefused) -> None:
    order = Order.locked(event.order_id)
    if order.awaits == Order.STOCK:
        order.record(event)
        order.emit(OrderCancelled(order.id, order.user_id, event.reason))


@listener.on(PaymentAuthorized)
def payment_authorized(event: PaymentAuthorized) -> None:
    order = Order.locked(event.order_id)
    if order.awaits == Order.PAYMENT:
        order.record(event)
        order.emit(
            OrderConfirmed(order.id, order.user_id, order.lines, order.amount, order.currency),
            CommitStock(order.id),
            CapturePayment(order.id),
        )


@listener.on(PaymentDeclined)
def payment_declined(event: PaymentDeclined) -> None:
    order = Order.locked(event.order_id)
    if order.awaits == Order.PAYMENT:
        order.record(event)
        order.emit(OrderCancelled(order.id, order.user_id, event.reason), ReleaseStock(order.id))


@listener.on(PaymentCaptured)
def payment_captured(event: PaymentCaptured) -> None:
    Order.locked(event.order_id).record(event)


def cancel(order: Order, reason: str) -> None:
    """Cancel and undo both steps, whichever of them were taken: who was never asked remembers that it was called off.

    Raises OutOfTurn once the order is confirmed.
    """
    order.emit(OrderCancelled(order.id, order.user_id, reason), ReleaseStock(order.id), VoidPayment(order.id))


def ship(order: Order) -> None:
    order.record(OrderShipped(order.id, order.user_id))


def deliver(order: Order) -> None:
    order.record(OrderDelivered(order.id, order.user_id))
