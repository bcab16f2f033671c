"""Digests: one mail of collected notifications."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, select

from chassis.base import clock
from chassis.storage import postgres
from services.notifications.kinds import EMAIL
from services.notifications.models import Contact, Notification, Status
from services.notifications.models.notification import DIGEST
from services.notifications.notify import notify

EVERY_SECONDS = 20
PEOPLE_AT_ONCE = 100
MAX_COLLECTED = 200


def send_due(at: datetime | None = None) -> None:
    at = at or clock.now()
    for user_id in _people(at):
        _collect(user_id, at)


def _people(at: datetime) -> Sequence[UUID]:
    # Ordered, as contacts get locked.
    due = select(Notification.user_id).where(*_due(at)).distinct().order_by(Notification.user_id)
    return postgres.session().scalars(due.limit(PEOPLE_AT_ONCE)).all()


def _collect(user_id: UUID, at: datetime) -> None:
    contact = Contact.get_for_update(user_id)
    query = select(Notification).where(*_due(at), Notification.user_id == user_id).order_by(Notification.created_at)
    collected = postgres.session().scalars(query.limit(MAX_COLLECTED).with_for_update()).all()
    if not collected:
        return
    # Derived, so that no digest is sent twice.
    fact_id = uuid5(collected[0].id, DIGEST)
    sent = notify(contact, DIGEST, user_id, fact_id=fact_id, channels=[EMAIL], items=collected)
    for notification in collected:
        notification.status, notification.digest_id = Status.COLLECTED, sent[0].id if sent else None


def _due(at: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        Notification.status == Status.DEFERRED,
        Notification.reason == DIGEST,
        Notification.release_at <= at,
    )
