"""Telling somebody something: one row and one task, in the transaction of the fact."""

from typing import Any
from uuid import UUID

from chassis.outbox import enqueue
from services.notifications.content import NO_CONTENT, render
from services.notifications.models import Contact, Notification, Status


def notify(contact: Contact, kind: str, subject_id: UUID, **facts: Any) -> Notification | None:
    """Tell `contact` of `subject_id` by e-mail, unless they were told before: then None.

    A deleted user is told nothing; the row says so.
    """
    content = NO_CONTENT if contact.is_deleted else render(kind, name=contact.name, **facts)
    notification = Notification.enter(contact.user_id, kind, subject_id, contact.email, content)
    if notification is not None and notification.status == Status.PENDING:
        enqueue("notifications.deliver", notification.id)
    return notification
