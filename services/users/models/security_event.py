"""The audit trail, without secrets or e-mail addresses."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Index, String, select
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.security import auth
from chassis.storage import postgres
from chassis.web import forwarded
from services.users.models import Base
from services.users.settings import Settings

KEPT = timedelta(days=365)


class SecurityEvent(Base):
    """`actor_id`: the logged-in user who acted. Either id may be null."""

    __tablename__ = "security_events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    occurred_at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(40))
    user_id: Mapped[UUID | None]
    actor_id: Mapped[UUID | None]
    address: Mapped[str | None] = mapped_column(String(45))
    details: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("security_events_newest", "occurred_at", "id"),
        Index("security_events_of_user", "user_id", "occurred_at", "id"),
    )

    @classmethod
    def has_recent(cls, user_id: UUID, kind: str, within: timedelta) -> bool:
        recent = select(cls.id).where(cls.user_id == user_id, cls.occurred_at > clock.now() - within, cls.kind == kind)
        return postgres.session().scalar(recent.limit(1)) is not None


def record(kind: str, user_id: UUID | None, **details: Any) -> None:
    """`details`: JSON values, no secrets."""
    event = SecurityEvent(
        id=uuid4(),
        occurred_at=clock.now(),
        kind=kind,
        user_id=user_id,
        actor_id=auth.caller().user_id,
        address=forwarded.client_address(Settings.current()),
        details=details,
    )
    postgres.session().add(event)
