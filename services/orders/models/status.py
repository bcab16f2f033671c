"""What an order may be, and in which order."""

from enum import StrEnum

from chassis.base.problems import Conflict


class OrderStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"
    """All that was paid went back, whether it was cancelled before or not."""


NEXT = {
    OrderStatus.PENDING: {OrderStatus.CONFIRMED, OrderStatus.CANCELLED},
    OrderStatus.CONFIRMED: {OrderStatus.SHIPPED, OrderStatus.CANCELLED, OrderStatus.REFUNDED},
    OrderStatus.SHIPPED: {OrderStatus.DELIVERED, OrderStatus.REFUNDED},
    OrderStatus.DELIVERED: {OrderStatus.REFUNDED},
    OrderStatus.CANCELLED: {OrderStatus.REFUNDED},
}
"""What an order may become from each status; from any other, nothing."""


class OutOfTurn(Conflict):
    type, title = "/problems/order-out-of-turn", "The order's status forbids this"
