"""Append-only event streams, one per order; also the outbox."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Identity, String, UniqueConstraint, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.messaging import message as messages
from chassis.messaging import relay
from chassis.messaging.message import Message
from chassis.storage import postgres, rows


class Base(DeclarativeBase):
    type_annotation_map = postgres.COLUMN_TYPES


class Event(Base):
    """`version` counts from 1 without gaps; its uniqueness makes the later of two writers fail."""

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
    """When the broker confirmed it, or when an unsent event happened."""

    @classmethod
    def append(cls, message: Message, stream: UUID, version: int, occurred_at: datetime, is_sent: bool) -> None:
        rows.add(cls, cls.values(message, stream, version, occurred_at, is_sent))

    @classmethod
    def values(
        cls, message: Message, stream: UUID, version: int, occurred_at: datetime, is_sent: bool
    ) -> dict[str, Any]:
        return {
            "id": uuid4(),
            "stream": stream,
            "version": version,
            "type": message.type,
            "data": message.data(),
            "meta": relay.meta(message.version),
            "occurred_at": occurred_at,
            "sent_at": None if is_sent else occurred_at,
        }

    @property
    def message(self) -> Message:
        return read(self.type, self.data, self.meta)

    @classmethod
    def stream_of(cls, order_id: UUID, after: int = 0, limit: int | None = None) -> Sequence["Event"]:
        """Oldest first."""
        query = select(cls).where(cls.stream == order_id, cls.version > after).order_by(cls.version).limit(limit)
        return postgres.session().scalars(query).all()

    @classmethod
    def at(cls, order_id: UUID, version: int) -> "Event":
        return postgres.session().scalars(select(cls).where(cls.stream == order_id, cls.version == version)).one()


def read(type_: str, data: dict[str, Any], meta: dict[str, Any]) -> Message:
    return messages.read(type_, data, relay.version(meta))
