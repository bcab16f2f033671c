"""Append-only event streams, one per order; also the outbox."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import BigInteger, Identity, Select, String, UniqueConstraint, func, or_, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from chassis.base import tracing
from chassis.messaging import message as messages
from chassis.messaging import relay
from chassis.messaging.message import Message
from chassis.storage import postgres, rows

BY_REQUESTS = ("order.placed", "order.cancelled", "order.shipped", "order.delivered", "payment.refund")
"""What people ask for. Indexes cover these alone."""


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

    @property
    def identity(self) -> dict[str, str]:
        """`trace_id` and `correlation_id`, where known."""
        return tracing.identity(self.meta.get("traceparent", ""), self.meta.get("correlation_id", ""))

    @classmethod
    def stream_of(cls, order_id: UUID, after: int = 0, limit: int | None = None) -> Sequence["Event"]:
        """Oldest first."""
        query = select(cls).where(cls.stream == order_id, cls.version > after).order_by(cls.version).limit(limit)
        return postgres.session().scalars(query).all()

    @classmethod
    def orders_of_request(cls, request: UUID) -> Select[UUID]:
        """Ids of orders that it placed or changed. request: its correlation id, or its trace's."""
        correlated = func.lower(cls.meta["correlation_id"].astext) == str(request)
        traced = func.substr(cls.meta["traceparent"].astext, 4, 32) == request.hex
        return select(cls.stream).where(cls.type.in_(BY_REQUESTS), or_(correlated, traced))

    @classmethod
    def at(cls, order_id: UUID, version: int) -> "Event":
        return postgres.session().scalars(select(cls).where(cls.stream == order_id, cls.version == version)).one()


def read(type_: str, data: dict[str, Any], meta: dict[str, Any]) -> Message:
    return messages.read(type_, data, relay.version(meta))
