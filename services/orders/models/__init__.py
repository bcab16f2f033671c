"""Orders are event-sourced: `events` holds what happened, `orders` is what that makes of each order."""

from services.orders.models.events import Event
from services.orders.models.order import Order, OrderStatus

__all__ = ["Event", "Order", "OrderStatus"]
