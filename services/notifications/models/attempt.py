"""The delivery log, written before each attempt."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, String, select, update
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.storage import postgres, rows
from services.notifications.models.base import Base


class Outcome(StrEnum):
    STARTED = "started"
    SENT = "sent"
    REFUSED = "refused"
    """Permanently."""
    NOT_TAKEN = "not taken"
    """Certainly; a retry may succeed."""
    UNKNOWN = "unknown"
    """It may have been taken."""


class Attempt(Base):
    __tablename__ = "attempts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    notification_id: Mapped[UUID] = mapped_column(ForeignKey("notifications.id"))
    provider: Mapped[str] = mapped_column(String(100))
    device_id: Mapped[UUID | None]
    outcome: Mapped[str] = mapped_column(String(20))
    reference: Mapped[str | None] = mapped_column(String(100))
    """The provider's id."""
    error: Mapped[str | None] = mapped_column(String(500))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]

    @classmethod
    def begin(cls, notification_id: UUID, provider: str, device_id: UUID | None = None) -> UUID:
        """Its id."""
        attempt_id = uuid4()
        attempt = {
            "id": attempt_id,
            "notification_id": notification_id,
            "provider": provider,
            "device_id": device_id,
            "outcome": Outcome.STARTED,
            "started_at": clock.now(),
        }
        rows.add(cls, attempt)
        return attempt_id

    @classmethod
    def end(cls, attempt_id: UUID, outcome: Outcome, reference: str | None = None, error: str | None = None) -> None:
        ended = {"outcome": outcome, "reference": reference, "error": error and error[:500], "ended_at": clock.now()}
        rows.update(cls, attempt_id, ended)

    @classmethod
    def of(cls, notification_id: UUID) -> Sequence["Attempt"]:
        """Oldest first."""
        query = select(cls).where(cls.notification_id == notification_id)
        return postgres.session().scalars(query.order_by(cls.started_at, cls.id)).all()

    @classmethod
    def blank(cls, notification_ids: Any) -> None:
        """The errors may name the user."""
        postgres.session().execute(update(cls).where(cls.notification_id.in_(notification_ids)).values(error=None))

    @classmethod
    def interrupted(cls, notification_id: UUID) -> Sequence["Attempt"]:
        """Their process died: ends them as unknown."""
        broken = update(cls).where(cls.notification_id == notification_id, cls.outcome == Outcome.STARTED)
        ended = broken.values(outcome=Outcome.UNKNOWN, error=INTERRUPTED, ended_at=clock.now())
        return postgres.session().scalars(ended.returning(cls)).all()


INTERRUPTED = "The process died before the response."
