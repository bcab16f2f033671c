"""Webhooks as they came, verified and not yet believed: each event once, kept until it was heeded and for a while after."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import String, Text, UniqueConstraint, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.storage import postgres
from services.payments.models.base import Base
from services.payments.models.patience import PATIENCE, next_look

KEPT = timedelta(days=30)
"""How long a webhook is kept after it was heeded: far longer than its signature could be used again."""


class Webhook(Base):
    __tablename__ = "webhooks"
    __table_args__ = (UniqueConstraint("provider", "event_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    provider: Mapped[str] = mapped_column(String(50))
    event_id: Mapped[str] = mapped_column(String(255))
    """The provider's id of the event: whatever comes with it again is known."""

    type: Mapped[str] = mapped_column(String(100))
    payment_id: Mapped[UUID | None]
    """Which payment it is about, if the event names one that could be ours."""

    body: Mapped[str] = mapped_column(Text)
    received_at: Mapped[datetime] = mapped_column(default=clock.now)
    due_at: Mapped[datetime | None]
    """When the sweeper takes it up if it was not heeded by then; empty when it was."""

    @classmethod
    def store(cls, provider: str, event_id: str, event_type: str, payment_id: UUID | None, body: str) -> UUID | None:
        """The id of the new webhook; None for one that is known."""
        now = clock.now()
        about = {"event_id": event_id, "type": event_type, "payment_id": payment_id, "body": body}
        row = insert(cls).values(id=uuid4(), provider=provider, received_at=now, due_at=now + PATIENCE, **about)
        known = row.on_conflict_do_nothing(index_elements=[cls.provider, cls.event_id])
        return postgres.session().scalar(known.returning(cls.id))

    @classmethod
    def get_for_update(cls, webhook_id: UUID) -> "Webhook":
        return postgres.session().get_one(cls, webhook_id, with_for_update=True)

    @classmethod
    def overdue(cls, now: datetime, limit: int) -> Sequence["Webhook"]:
        """Webhooks that nobody heeded for long, locked; locked ones are skipped."""
        query = select(cls).where(cls.due_at <= now).order_by(cls.due_at).limit(limit)
        return postgres.session().scalars(query.with_for_update(skip_locked=True)).all()

    @classmethod
    def forget_old(cls) -> None:
        postgres.session().execute(delete(cls).where(cls.due_at.is_(None), cls.received_at < clock.now() - KEPT))

    def put_off(self, now: datetime) -> None:
        self.due_at = next_look(now, self.received_at)

    def heeded(self) -> None:
        self.due_at = None
