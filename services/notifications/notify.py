"""One row and one task per channel, in the fact's transaction."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from prometheus_client import Counter

from chassis.base import clock
from chassis.storage import postgres
from chassis.storage.outbox import enqueue
from services.notifications import links, timing
from services.notifications.content import NO_CONTENT, render
from services.notifications.kinds import EMAIL, KINDS, PUSH, SMS
from services.notifications.models import Contact, Device, Notification, Preferences, Status
from services.notifications.models.notification import DIGEST
from services.notifications.settings import Settings

PLANNED = Counter(
    "souk_notifications_total",
    "Notifications by the decision made when they were created.",
    ["kind", "channel", "plan"],
)

NO_USER = UUID(int=0)
"""For staff."""


def notify(
    contact: Contact,
    kind_name: str,
    subject_id: UUID,
    *,
    fact_id: UUID | None = None,
    channels: Iterable[str] | None = None,
    **facts: Any,
) -> Sequence[Notification]:
    """Once about `subject_id`: one new notification per channel.

    Suppressed mails leave a row with a reason. Other channels get one only if available and wanted, or in `channels`.
    """
    kind, preferences = KINDS[kind_name], Preferences.of(contact.user_id)
    zone = preferences.zone(contact.time_zone).key
    created = []
    for channel in channels or sorted(kind.offered):
        recipient = address(contact, preferences, channel)
        plan = timing.plan(contact, preferences, kind, channel, clock.now())
        if channels is None and channel != EMAIL and not (recipient and plan.status != Status.SUPPRESSED):
            continue
        if not recipient:
            plan = timing.Plan(Status.SUPPRESSED, plan.reason or "no address")
        unsubscribe = links.unsubscribe_url(contact.user_id, kind) if channel == EMAIL else ""
        facts_and_links = {"name": contact.name_for(contact.email), "unsubscribe": unsubscribe, **facts}
        form = PUSH if plan.reason == DIGEST else channel
        content = NO_CONTENT if contact.is_deleted else render(kind_name, form, contact.locale, zone, **facts_and_links)
        notification = Notification.create(
            content,
            plan.release_at,
            user_id=contact.user_id,
            channel=channel,
            kind=kind_name,
            subject_id=subject_id,
            fact_id=fact_id,
            recipient=recipient,
            locale=contact.locale,
            status=plan.status,
            reason=plan.reason,
        )
        if notification is not None:
            _dispatch(notification)
            created.append(notification)
    return created


def notify_staff(kind_name: str, subject_id: UUID, fact_id: UUID, **facts: Any) -> None:
    """If an address is configured."""
    recipient = Settings.current().staff_address
    if not recipient:
        return
    notification = Notification.create(
        render(kind_name, name="colleagues", unsubscribe="", **facts),
        user_id=NO_USER,
        channel=EMAIL,
        kind=kind_name,
        subject_id=subject_id,
        fact_id=fact_id,
        recipient=recipient,
        status=Status.PENDING,
    )
    if notification is not None:
        _dispatch(notification)


def address(contact: Contact, preferences: Preferences, channel: str) -> str:
    """May be empty."""
    if channel == EMAIL:
        return contact.email or ""
    if channel == SMS:
        return preferences.phone or ""
    devices = len(Device.of(contact.user_id))
    return f"{devices} device{'s' * (devices > 1)}" if devices else ""


def _dispatch(notification: Notification) -> None:
    reason = notification.reason or notification.status
    postgres.after_commit(PLANNED.labels(notification.kind, notification.channel, reason).inc)
    if notification.status == Status.PENDING:
        enqueue("notifications.deliver", notification.id)
