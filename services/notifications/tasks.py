"""Delivery by Celery."""

from contextlib import ExitStack
from datetime import timedelta
from uuid import UUID

from chassis.run.tasks import Steps, Tasks
from chassis.storage import store
from services.notifications import delivery
from services.notifications.models import Notification
from services.notifications.settings import Settings

tasks = Tasks("notifications")


def _exhausted(notification_id: UUID, error: Exception) -> None:
    """The sweeper retries unavailable providers; other errors are bugs."""
    if not isinstance(error, OSError):
        Notification.get_for_update(notification_id).give_up(repr(error))


# For a few seconds; then the sweeper takes over.
@tasks.task(retries=3, on_exhausted=_exhausted, locks=Notification)
def deliver(notification_id: UUID) -> Steps:
    """Raises OSError when a retry may succeed."""
    lasts = timedelta(seconds=Settings.current().attempt_seconds)
    notification = Notification.take(notification_id, lasts)
    if notification is None:
        return
    begun = delivery.begin(notification)
    sent = yield lambda: _send(notification, begun)
    if sent is not None:
        delivery.succeed(Notification.get_for_update(notification_id), sent)


def _send(notification: Notification, begun: delivery.Begun | None) -> delivery.Sent | None:
    with ExitStack() as on_error:
        # Otherwise retries would find the row taken.
        on_error.callback(_release, notification.id)
        sent = delivery.send(notification, begun)
        on_error.pop_all()
    return sent


def _release(notification_id: UUID) -> None:
    with store.transaction():
        Notification.get_for_update(notification_id).taken_until = None
