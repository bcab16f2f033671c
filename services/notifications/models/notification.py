"""One message to one person about one fact, and how far it got: pending → sent or failed; suppressed is never sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import String, Text, UniqueConstraint, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis import db
from chassis.auth import Caller
from chassis.paging import Page, newest_first
from chassis.problems import NotFound
from services.notifications.content import Content
from services.notifications.models.base import Base

EMAIL = "email"

SOONEST_SWEEP = timedelta(seconds=60)
"""A row is left to its task, with the task's own retries, for this long."""

LATEST_SWEEP = timedelta(minutes=10)
"""A mail server that comes back has its mails after this, at the latest."""

ATTEMPT_LASTS = timedelta(minutes=2)
"""More than a conversation with a mail server takes; an attempt that has not ended by then was killed."""

GIVE_UP_AFTER = timedelta(days=3)

SWEPT_AT_ONCE = 200


class Status(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"


class Notification(Base):
    __tablename__ = "notifications"
    __table_args__ = (UniqueConstraint("kind", "subject_id", "channel", "user_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    channel: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(100))
    subject_id: Mapped[UUID]
    """The fact that it tells, e.g. the order: each is told once for each kind, channel and person."""
    recipient: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    text: Mapped[str] = mapped_column(Text)
    html: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    """When the sweeper takes it up, if it is still pending then."""
    taken_until: Mapped[datetime | None]
    """Until then it is some task's to send."""

    @classmethod
    def enter(
        cls, user_id: UUID, kind: str, subject_id: UUID, recipient: str | None, content: Content
    ) -> "Notification | None":
        """A new e-mail, pending, or suppressed where there is no recipient. None when this fact was told before."""
        now = db.now()
        values = {
            "id": uuid4(),
            "user_id": user_id,
            "channel": EMAIL,
            "kind": kind,
            "subject_id": subject_id,
            "recipient": recipient or "",
            "subject": content.subject,
            "text": content.text,
            "html": content.html,
            "status": Status.PENDING if recipient else Status.SUPPRESSED,
            "created_at": now,
            "due_at": now + SOONEST_SWEEP,
        }
        statement = insert(cls).values(values).on_conflict_do_nothing().returning(cls)
        return db.session().scalars(statement).one_or_none()

    @classmethod
    def page(cls, caller: Caller, user_id: UUID, page: Page) -> tuple[Sequence["Notification"], str | None]:
        """What this user was told, newest first. Raises NotFound unless it is the caller, or the caller is staff."""
        if not caller.owns(user_id):
            raise NotFound("You have no such user.")
        return newest_first(select(cls).where(cls.user_id == user_id), cls.created_at, cls.id, page)

    @classmethod
    def take(cls, notification_id: UUID) -> "Notification | None":
        """The notification, now the caller's to send; None when it needs no sending, or is being sent."""
        now = db.now()
        notification = cls.locked(notification_id)
        if notification.status != Status.PENDING or (notification.taken_until or now) > now:
            return None
        notification.attempts += 1
        notification.taken_until = notification.due_at = now + ATTEMPT_LASTS
        return notification

    @classmethod
    def locked(cls, notification_id: UUID) -> "Notification":
        return db.session().get_one(cls, notification_id, with_for_update=True)

    @classmethod
    def overdue(cls, at: datetime) -> list["Notification"]:
        """What is still pending although its time has come, longest due first, a bounded number, locked."""
        query = (
            select(cls)
            .where(cls.status == Status.PENDING, cls.due_at <= at)
            .order_by(cls.due_at)
            .limit(SWEPT_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        return list(db.session().scalars(query))

    @classmethod
    def forget(cls, user_id: UUID) -> None:
        """Blank what was said to this user and where; that it was said stays. What is pending is not sent any more."""
        of_user = update(cls).where(cls.user_id == user_id)
        db.session().execute(of_user.values(recipient="", subject="", text="", html="", error=None))
        db.session().execute(of_user.where(cls.status == Status.PENDING).values(status=Status.SUPPRESSED))

    def postpone(self, at: datetime) -> None:
        """Have the sweeper look again when the row's age has doubled, within bounds."""
        self.due_at = at + min(max(at - self.created_at, SOONEST_SWEEP), LATEST_SWEEP)

    def succeed(self) -> None:
        self.status = Status.SENT
        self.sent_at = db.now()
        self.error = None
        self.taken_until = None

    def fail(self, error: str) -> None:
        """Trying again is of no use."""
        if self.status == Status.PENDING:
            self.status = Status.FAILED
            self.error = error[:500]
            self.taken_until = None

    def fall_back(self, error: str) -> None:
        """This attempt did not succeed; another may, unless there were enough."""
        now = db.now()
        if now - self.created_at > GIVE_UP_AFTER:
            self.fail(error)
        elif self.status == Status.PENDING:
            self.error = error[:500]
            self.taken_until = None
            self.postpone(now)
