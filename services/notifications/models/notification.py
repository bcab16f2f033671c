"""One message to one user about one fact by one channel.

pending → sent, failed (permanently refused) or dead (given up). deferred → pending, or collected into a digest.
suppressed: never sent.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import Row, String, Text, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.security.auth import Caller
from chassis.storage import postgres, rows
from chassis.web.pagination import Page, newest_first
from services.notifications.content import Content
from services.notifications.kinds import KINDS
from services.notifications.models.attempt import INTERRUPTED, Attempt, Outcome
from services.notifications.models.base import Base

SOONEST_SWEEP = timedelta(seconds=60)
"""Leaves time for the task's retries."""

LATEST_SWEEP = timedelta(minutes=10)
"""The longest wait once a provider is back."""

GIVE_UP_AFTER = timedelta(days=3)

MAX_CRASHES = 5

SWEPT_AT_ONCE = 500

MAX_DEFERRAL = timedelta(days=8)

DIGEST = "digest"
"""A reason for deferral."""


class Status(StrEnum):
    PENDING = "pending"
    DEFERRED = "deferred"
    SENT = "sent"
    COLLECTED = "collected"
    FAILED = "failed"
    DEAD = "dead"
    SUPPRESSED = "suppressed"


UNSENT = (Status.PENDING, Status.DEFERRED, Status.DEAD)


class Notification(Base):
    __tablename__ = "notifications"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    channel: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(100))
    subject_id: Mapped[UUID]
    """E.g. the order."""
    fact_id: Mapped[UUID | None]
    """Unique with kind, channel and user."""
    recipient: Mapped[str] = mapped_column(String(255))
    subject: Mapped[str] = mapped_column(String(255))
    text: Mapped[str] = mapped_column(Text)
    html: Mapped[str] = mapped_column(Text)
    locale: Mapped[str | None] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(String(50))
    """For deferral or suppression."""
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    release_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    """For the sweeper."""
    give_up_at: Mapped[datetime | None]
    taken_until: Mapped[datetime | None]
    pinned_to: Mapped[str | None] = mapped_column(String(100))
    """May have taken it: others would duplicate it."""
    digest_id: Mapped[UUID | None]

    @classmethod
    def create(cls, content: Content, release_at: datetime | None = None, **values: object) -> "Notification | None":
        """None if this fact has one."""
        now = clock.now()
        release_at = release_at or now
        row = {
            "id": uuid4(),
            "subject": content.subject,
            "text": content.text,
            "html": content.html,
            "created_at": now,
            "release_at": release_at,
            "due_at": release_at + SOONEST_SWEEP,
            "give_up_at": release_at + GIVE_UP_AFTER,
            **values,
        }
        statement = insert(cls).values(row).on_conflict_do_nothing().returning(cls)
        return postgres.session().scalars(statement).one_or_none()

    @classmethod
    def page(
        cls, caller: Caller, user_id: UUID, page: Page, subject_id: UUID | None = None
    ) -> tuple[Sequence["Notification"], str | None]:
        """Newest first. Raises NotFound for users hidden from the caller."""
        if not caller.owns(user_id):
            raise NotFound("User not found.")
        query = select(cls).where(cls.user_id == user_id)
        if subject_id is not None:
            query = query.where(cls.subject_id == subject_id)
        return newest_first(query, cls.created_at, cls.id, page)

    @classmethod
    def visible_to(cls, caller: Caller, user_id: UUID, notification_id: UUID) -> "Notification":
        """Raises NotFound for another user's, unless staff."""
        found = postgres.session().get(cls, notification_id) if caller.owns(user_id) else None
        if found is None or found.user_id != user_id:
            raise NotFound("Notification not found.")
        return found

    @classmethod
    def take(cls, notification_id: UUID, lasts: timedelta) -> "Notification | None":
        """None if done or in progress."""
        now = clock.now()
        notification = cls.get_for_update(notification_id)
        if notification.status != Status.PENDING or (notification.taken_until or now) > now:
            return None
        if notification.attempts:
            notification.pin_to_interrupted()
        if notification.status != Status.PENDING:
            return None
        notification.attempts += 1
        notification.taken_until = notification.due_at = now + lasts + clock.LEEWAY
        return notification

    @classmethod
    def get_for_update(cls, notification_id: UUID) -> "Notification":
        """Raises LookupError."""
        found = rows.get_for_update(cls, notification_id)
        if found is None:
            raise LookupError(f"There is no notification {notification_id}.")
        return found

    @classmethod
    def overdue(cls, at: datetime) -> list["Notification"]:
        """Longest due first; limited, locked."""
        query = (
            select(cls)
            .where(cls.status == Status.PENDING, cls.due_at <= at)
            .order_by(cls.due_at)
            .limit(SWEPT_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        return list(postgres.session().scalars(query))

    @classmethod
    def released(cls, at: datetime) -> list["Notification"]:
        """Makes them pending, except for digests; limited, locked."""
        query = (
            select(cls)
            .where(cls.status == Status.DEFERRED, cls.release_at <= at, cls.reason != DIGEST)
            .order_by(cls.release_at)
            .limit(SWEPT_AT_ONCE)
            .with_for_update(skip_locked=True)
        )
        found = list(postgres.session().scalars(query))
        for notification in found:
            notification.status = Status.PENDING
            notification.due_at = at + SOONEST_SWEEP
        return found

    @classmethod
    def nth_latest_release(cls, user_id: UUID, channel: str, nth: int, since: datetime) -> datetime | None:
        """Of capped messages, past or planned."""
        uncapped = [kind.name for kind in KINDS.values() if not kind.is_capped]
        query = (
            select(cls.release_at)
            .where(cls.user_id == user_id, cls.channel == channel, cls.kind.not_in(uncapped))
            .where(cls.status.in_([Status.PENDING, Status.DEFERRED, Status.SENT, Status.FAILED, Status.DEAD]))
            .where(cls.reason.is_distinct_from(DIGEST), cls.release_at > since)
            # Bounds the index scan.
            .where(cls.created_at > since - MAX_DEFERRAL)
            .order_by(cls.release_at.desc())
            .offset(nth - 1)
            .limit(1)
        )
        return postgres.session().scalar(query)

    @classmethod
    def dead_letters(cls, limit: int) -> Sequence[Row[UUID, str, str, datetime, str | None]]:
        """Id, kind, channel, time of creation and error, oldest first. Their texts would fill the memory."""
        shown = select(cls.id, cls.kind, cls.channel, cls.created_at, cls.error)
        return (
            postgres.session()
            .execute(shown.where(cls.status == Status.DEAD).order_by(cls.created_at).limit(limit))
            .all()
        )

    @classmethod
    def count_dead_letters(cls) -> int:
        return postgres.session().scalar(select(func.count()).where(cls.status == Status.DEAD)) or 0

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        """Suppresses unsent ones."""
        of_user = update(cls).where(cls.user_id == user_id)
        postgres.session().execute(of_user.values(recipient="", subject="", text="", html="", error=None))
        suppressed = of_user.where(cls.status.in_(UNSENT)).values(status=Status.SUPPRESSED, reason="deleted")
        postgres.session().execute(suppressed)
        Attempt.blank(select(cls.id).where(cls.user_id == user_id))

    @property
    def fact(self) -> UUID:
        return self.fact_id or self.subject_id

    def pin_to_interrupted(self) -> None:
        """Our process died; that provider may have it."""
        for attempt in Attempt.interrupted(self.id):
            if attempt.device_id is None:
                self.pinned_to = attempt.provider
        crashes = [
            each for each in Attempt.of(self.id) if each.outcome == Outcome.UNKNOWN and each.error == INTERRUPTED
        ]
        if len(crashes) >= MAX_CRASHES:
            self.give_up(f"The process died {len(crashes)} times while sending it.")

    def postpone(self, at: datetime) -> None:
        """Due again when the row's age has doubled, within bounds."""
        age = at - (self.release_at or self.created_at)
        self.due_at = at + min(max(age, SOONEST_SWEEP), LATEST_SWEEP)

    def succeed(self) -> None:
        self.status = Status.SENT
        self.sent_at = clock.now()
        self.error = self.pinned_to = None
        self.taken_until = None

    def suppress(self, reason: str) -> None:
        self._settle(Status.SUPPRESSED)
        self.reason = reason

    def fail(self, error: str) -> None:
        self._settle(Status.FAILED, error)

    def give_up(self, error: str) -> None:
        self._settle(Status.DEAD, error)

    def replay(self, at: datetime) -> None:
        """Stays pinned."""
        assert self.status == Status.DEAD
        self.status, self.error = Status.PENDING, None
        self.give_up_at, self.due_at = at + GIVE_UP_AFTER, at + SOONEST_SWEEP

    def retry_later(self, error: str, pinned_to: str | None = None) -> None:
        """Until GIVE_UP_AFTER."""
        now = clock.now()
        self.pinned_to = pinned_to or self.pinned_to
        if now > (self.give_up_at or self.created_at + GIVE_UP_AFTER):
            self.give_up(error)
        elif self.status == Status.PENDING:
            self.error = error[:500]
            self.taken_until = None
            self.postpone(now)

    def _settle(self, status: Status, error: str | None = None) -> None:
        if self.status == Status.PENDING:
            self.status = status
            self.error = error and error[:500]
            self.taken_until = None
