"""The audit trail: who came in or was refused, and who changed what lets people in. It holds no secret and no e-mail address."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.security import auth
from chassis.storage import postgres
from chassis.web import forwarded
from services.users.models import Base
from services.users.settings import Settings

KEPT = timedelta(days=365)


class SecurityEvent(Base):
    """`user_id` is the account it is about, empty where there is none; `actor_id` the user who did it, if logged in."""

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


def record(kind: str, user_id: UUID | None, **details: Any) -> None:
    """Keep it with the present transaction. `details` are JSON values and no secrets."""
    event = SecurityEvent(
        id=uuid4(),
        occurred_at=postgres.now(),
        kind=kind,
        user_id=user_id,
        actor_id=auth.caller().user_id,
        address=forwarded.client_address(Settings.current()),
        details=details,
    )
    postgres.session().add(event)
