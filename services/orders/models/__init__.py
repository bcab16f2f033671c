"""Orders are event-sourced: `events` holds what happened, `orders` is what that makes of each order."""

from services.orders.models.events import Event
from services.orders.models.order import Order
from services.orders.models.status import OrderStatus, OutOfTurn
from services.orders.models.steps import Outcome, Step

__all__ = ["Event", "Order", "OrderStatus", "OutOfTurn", "Outcome", "Step"]
