"""Nothing is left behind: mails whose task gave up or was lost are taken up again."""

from datetime import datetime

from chassis import db
from chassis.outbox import enqueue
from services.notifications.models import Notification

EVERY_SECONDS = 30


def sweep(at: datetime | None = None) -> None:
    """Enqueue again what is still pending although its time has come; `at` is now unless given."""
    at = at or db.now()
    for notification in Notification.overdue(at):
        notification.postpone(at)
        enqueue("notifications.deliver", notification.id)
