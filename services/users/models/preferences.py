"""User preferences."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ARRAY, String, delete
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.storage import postgres
from services.users.models import Base


class Preferences(Base):
    """Without a row the defaults apply: no consent."""

    __tablename__ = "preferences"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    locale: Mapped[str] = mapped_column(String(20))
    currency: Mapped[str] = mapped_column(String(3))
    time_zone: Mapped[str] = mapped_column(String(64))
    marketing_consent: Mapped[bool]
    marketing_consent_at: Mapped[datetime | None]
    """Proof of consent, required by law."""
    notify_by: Mapped[list[str]] = mapped_column(ARRAY(String(10)))
    updated_at: Mapped[datetime]

    @classmethod
    def of(cls, user_id: UUID) -> Self:
        return postgres.session().get(cls, user_id) or cls(
            user_id=user_id,
            locale="en",
            currency="EUR",
            time_zone="UTC",
            marketing_consent=False,
            notify_by=["email"],
        )

    def update(self, values: dict[str, Any]) -> bool:
        """Whether anything changed."""
        changes = {name: value for name, value in values.items() if getattr(self, name) != value}
        if "marketing_consent" in changes:
            self.marketing_consent_at = clock.now() if changes["marketing_consent"] else None
        for name, value in changes.items():
            setattr(self, name, value)
        if changes:
            self.updated_at = clock.after(self.updated_at)
            postgres.session().add(self)
        return bool(changes)

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        postgres.session().execute(delete(cls).where(cls.user_id == user_id))
