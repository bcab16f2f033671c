"""The streams of events, one an order, append-only. This table is also the outbox: what is unsent in it the relay sends."""

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Identity, String, UniqueConstraint, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis import db, outbox
from chassis.messages import REGISTRY, Message


class Base(DeclarativeBase):
    type_annotation_map = db.COLUMN_TYPES


class Event(Base):
    """One fact or command of an order's life. `version` counts from 1 within its stream and has no gaps."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("stream", "version"),)

    position: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    id: Mapped[UUID] = mapped_column(unique=True)
    stream: Mapped[UUID]
    version: Mapped[int]
    type: Mapped[str] = mapped_column(String(100))
    data: Mapped[dict[str, Any]]
    meta: Mapped[dict[str, Any]]
    occurred_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]
    """When the broker confirmed it; for what is only recorded, when it happened."""

    @classmethod
    def of(cls, message: Message, stream: UUID, version: int, is_sent: bool) -> "Event":
        occurred_at = db.now()
        return cls(
            id=uuid4(),
            stream=stream,
            version=version,
            type=message.type,
            data=message.data(),
            meta=outbox.meta(),
            occurred_at=occurred_at,
            sent_at=None if is_sent else occurred_at,
        )

    @property
    def message(self) -> Message:
        return REGISTRY[self.type].of(self.data)

    @classmethod
    def stream_of(cls, order_id: UUID) -> list["Event"]:
        """Every event of the order, oldest first."""
        query = select(cls).where(cls.stream == order_id).order_by(cls.version)
        return list(db.session().scalars(query))
