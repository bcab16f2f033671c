"""Where senders and receivers must agree."""

import importlib

from chassis.messaging.message import REGISTRY

RECORDED = {"order.placed", "order.stuck", "order.resumed"}
"""Facts of an order's own stream, which are not sent to anybody yet."""


def test_every_message_has_a_listener_or_is_only_recorded() -> None:
    heard: set[str] = set()
    for service in ("users", "products", "orders", "payments", "notifications"):
        handlers = importlib.import_module(f"services.{service}.app").service.handlers
        heard |= set(handlers.by_type) if handlers is not None else set()
    assert set(REGISTRY) - heard == RECORDED
