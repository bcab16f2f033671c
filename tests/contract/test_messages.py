"""Where senders and receivers must agree."""

import importlib

from chassis.messages import REGISTRY

RECORDED = {"order.placed", "order.shipped", "order.delivered", "order.stuck", "order.resumed"}
"""Facts of an order's own stream, which are not sent to anybody yet."""

UNHEARD = {
    "stock.low",
    "user.email_verification_requested",
    "user.password_reset_requested",
    "user.password_changed",
    "user.preferences_updated",
    "order.refunded",
}
"""Agreed on, and not sent before both sides are there: whoever listens takes it out of here."""


def test_every_message_has_a_listener_or_is_only_recorded() -> None:
    heard: set[str] = set()
    for service in ("users", "products", "orders", "payments", "notifications"):
        listener = importlib.import_module(f"services.{service}.app").service.listener
        heard |= set(listener.handlers) if listener is not None else set()
    assert set(REGISTRY) - heard - UNHEARD == RECORDED
