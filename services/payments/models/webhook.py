"""Verified webhooks, stored once by event id."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import String, Text, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.storage import postgres
from services.payments.models.base import Base
from services.payments.models.sweeping import SWEEP_AFTER, next_sweep

KEPT = timedelta(days=30)
"""Once processed."""


class Webhook(Base):
    __tablename__ = "webhooks"
    __table_args__ = (UniqueConstraint("provider", "event_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    provider: Mapped[str] = mapped_column(String(50))
    event_id: Mapped[str] = mapped_column(String(255))

    type: Mapped[str] = mapped_column(String(100))
    payment_id: Mapped[UUID | None]

    reference: Mapped[str | None] = mapped_column(String(255))
    """An id of the charge at the provider."""

    body: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(default=clock.now)
    due_at: Mapped[datetime | None]
    """For the sweeper."""

    @classmethod
    def store(cls, provider: str, body: str, **event: str | UUID | None) -> UUID | None:
        """None for a repeat."""
        now = clock.now()
        content = {"body": body, **event}
        row = insert(cls).values(id=uuid4(), provider=provider, received_at=now, due_at=now + SWEEP_AFTER, **content)
        unless_stored = row.on_conflict_do_nothing(index_elements=[cls.provider, cls.event_id])
        return postgres.session().scalar(unless_stored.returning(cls.id))

    @classmethod
    def get_for_update(cls, webhook_id: UUID) -> "Webhook":
        return postgres.session().get_one(cls, webhook_id, with_for_update=True)

    @classmethod
    def overdue(cls, now: datetime, limit: int) -> Sequence["Webhook"]:
        """Locked; skips locked ones."""
        query = select(cls).where(cls.due_at <= now).order_by(cls.due_at).limit(limit)
        return postgres.session().scalars(query.with_for_update(skip_locked=True)).all()

    @classmethod
    def purge(cls) -> bool:
        """Whether there may be more."""
        return postgres.purge(cls.__table__, cls.due_at.is_(None), cls.received_at < clock.now() - KEPT)

    def postpone(self, now: datetime) -> None:
        self.due_at = next_sweep(now, self.received_at)

    def processed(self) -> None:
        self.due_at = None
