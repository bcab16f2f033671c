"""Event-sourced orders."""

from services.orders.models.events import Event
from services.orders.models.order import Order
from services.orders.models.status import InvalidTransition, OrderStatus
from services.orders.models.steps import Outcome, Step

__all__ = ["Event", "InvalidTransition", "Order", "OrderStatus", "Outcome", "Step"]
