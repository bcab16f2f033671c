"""Releases deferred notifications and retries unsent ones."""

from datetime import datetime

from chassis.base import clock
from chassis.base.telemetry import OwnGauge
from chassis.storage.outbox import enqueue
from services.notifications.models import Notification

EVERY_SECONDS = 10

DEAD = OwnGauge("souk_notifications_dead", "Notifications that were given up and need an operator.")


def sweep(at: datetime | None = None) -> None:
    at = at or clock.now()
    for notification in Notification.released(at):
        enqueue("notifications.deliver", notification.id)
    for notification in Notification.overdue(at):
        notification.postpone(at)
        enqueue("notifications.deliver", notification.id)
    DEAD.set(Notification.count_dead_letters())
