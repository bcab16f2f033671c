"""Delivery: one attempt at a time, with no transaction open while the mail server thinks.

A mail server may get a mail twice, when we die between its answer and our record of it; never does a row that is `sent` go
out again. The two copies have one Message-ID.
"""

from collections.abc import Callable
from uuid import UUID

from prometheus_client import Counter
from structlog import get_logger

from chassis import store
from chassis.tasks import Tasks
from services.notifications import mail
from services.notifications.models import Notification
from services.notifications.settings import Settings

log = get_logger(__name__)

tasks = Tasks("notifications")

ATTEMPTS = Counter(
    "souk_notification_attempts_total", "Attempts to deliver, by what came of them.", ["kind", "outcome"]
)


# The task's own retries bridge a hiccup of some seconds; after them the row waits for the sweeper.
@tasks.task(retries=3)
def deliver(notification_id: UUID) -> None:
    """Send the notification, unless that is done or being done. Raises OSError when another attempt may succeed."""
    with store.transaction():
        notification = Notification.take(notification_id)
    if notification is None:
        return
    try:
        mail.send(notification, Settings.current())
    except mail.Refused as refusal:
        error = str(refusal)
        _record(notification_id, "refused", lambda row: row.fail(error))
    except OSError as away:
        error = repr(away)
        _record(notification_id, "postponed", lambda row: row.fall_back(error))
        raise
    else:
        _record(notification_id, "sent", Notification.succeed)


def _record(notification_id: UUID, outcome: str, change: Callable[[Notification], None]) -> None:
    with store.transaction():
        notification = Notification.locked(notification_id)
        change(notification)
    ATTEMPTS.labels(notification.kind, outcome).inc()
    log.info("delivery attempted", kind=notification.kind, outcome=outcome, error=notification.error)
