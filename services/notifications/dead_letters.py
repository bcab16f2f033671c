"""Notifications that were given up."""

from collections.abc import Sequence
from uuid import UUID

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.run.dead_rows import DeadRow
from chassis.storage import postgres
from chassis.storage.outbox import enqueue
from services.notifications.models import Attempt, Notification, Status


def count() -> int:
    return Notification.count_dead_letters()


def rows(limit: int) -> Sequence[DeadRow]:
    """Oldest first."""
    return [_shown(notification) for notification in Notification.dead_letters(limit)]


def replay(row_id: UUID) -> None:
    """Raises NotFound unless given up."""
    notification = postgres.session().get(Notification, row_id, with_for_update=True)
    if notification is None or notification.status != Status.DEAD:
        raise NotFound("No notification with this id was given up.")
    notification.replay(clock.now())
    enqueue("notifications.deliver", notification.id)


def _shown(notification: Notification) -> DeadRow:
    log = [
        f"{each.started_at:%Y-%m-%d %H:%M:%S} {each.provider}: {each.outcome} {each.error or ''}".strip()
        for each in Attempt.of(notification.id)
    ]
    details = {
        "channel": notification.channel,
        "user_id": str(notification.user_id),
        "subject_id": str(notification.subject_id),
        "attempts": notification.attempts,
        "log": log[-20:],
    }
    return DeadRow(
        notification.id,
        f"{notification.kind} by {notification.channel}",
        notification.created_at,
        notification.error or "",
        details,
    )
