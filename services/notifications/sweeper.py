"""Nothing is left behind: what was deferred leaves when its time has come; what a task gave up or lost is taken up again."""

from datetime import datetime

from prometheus_client import Gauge

from chassis.base import clock
from chassis.storage.outbox import enqueue
from services.notifications.models import Notification

EVERY_SECONDS = 10

DEAD = Gauge("souk_notifications_dead", "Notifications that were given up and wait for an operator.")


def sweep(at: datetime | None = None) -> None:
    """Enqueue what was deferred until now, and again what is still pending although its time has come; `at` is now unless given."""
    at = at or clock.now()
    for notification in Notification.released(at):
        enqueue("notifications.deliver", notification.id)
    for notification in Notification.overdue(at):
        notification.postpone(at)
        enqueue("notifications.deliver", notification.id)
    DEAD.set(Notification.count_dead_letters())
