"""Delivery by Celery: a provider is a third party and may be slow."""

from contextlib import ExitStack
from datetime import timedelta
from uuid import UUID

from chassis.run.tasks import Tasks
from chassis.storage import store
from services.notifications import delivery
from services.notifications.models import Notification
from services.notifications.settings import Settings

tasks = Tasks("notifications")


def _exhausted(notification_id: UUID, error: Exception) -> None:
    """A provider that is away is the sweeper's to try again; anything else is a bug of ours, which trying does not mend."""
    if not isinstance(error, OSError):
        Notification.get_for_update(notification_id).give_up(repr(error))


# The task's own retries bridge a hiccup of some seconds; after them the row waits for the sweeper.
@tasks.task(retries=3, on_exhausted=_exhausted)
def deliver(notification_id: UUID) -> None:
    """Send the notification, unless that is done or being done. Raises OSError when another attempt may succeed."""
    lasts = timedelta(seconds=Settings.current().attempt_seconds)
    with store.transaction():
        notification = Notification.take(notification_id, lasts)
    if notification is None:
        return
    with ExitStack() as unless_it_ends_well:
        # A retry after an error that nobody expected must not find the row taken, or it would never be exhausted.
        unless_it_ends_well.callback(_let_go, notification_id)
        delivery.deliver(notification)
        unless_it_ends_well.pop_all()


def _let_go(notification_id: UUID) -> None:
    with store.transaction():
        Notification.get_for_update(notification_id).taken_until = None
