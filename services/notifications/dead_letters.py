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
    """Oldest first, without details."""
    return [
        DeadRow(row_id, _type(kind, channel), created_at, error or "")
        for row_id, kind, channel, created_at, error in Notification.dead_letters(limit)
    ]


def row(row_id: UUID) -> DeadRow | None:
    """None unless given up."""
    notification = postgres.session().get(Notification, row_id)
    return _shown(notification) if notification is not None and notification.status == Status.DEAD else None


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
    type_ = _type(notification.kind, notification.channel)
    return DeadRow(notification.id, type_, notification.created_at, notification.error or "", details)


def _type(kind: str, channel: str) -> str:
    return f"{kind} by {channel}"
