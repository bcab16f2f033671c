"""How a user wants to be served: language, money, time, and what they may be written about."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ARRAY, String, delete
from sqlalchemy.orm import Mapped, mapped_column

from chassis.storage import postgres
from services.users.models import Base


class Preferences(Base):
    """Without a row the defaults hold, which allow nothing that has to be asked for."""

    __tablename__ = "preferences"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    locale: Mapped[str] = mapped_column(String(20), default="en")
    currency: Mapped[str] = mapped_column(String(3), default="EUR")
    time_zone: Mapped[str] = mapped_column(String(64), default="UTC")
    marketing_consent: Mapped[bool] = mapped_column(default=False)
    marketing_consent_at: Mapped[datetime | None]
    """Since when; the proof that the law wants to see."""
    notify_by: Mapped[list[str]] = mapped_column(ARRAY(String(10)))
    updated_at: Mapped[datetime]

    @classmethod
    def of(cls, user_id: UUID) -> Self:
        """The user's, or the defaults, not kept yet."""
        return postgres.session().get(cls, user_id) or cls(
            user_id=user_id,
            locale="en",
            currency="EUR",
            time_zone="UTC",
            marketing_consent=False,
            notify_by=["email"],
        )

    def update(self, wanted: dict[str, Any]) -> bool:
        """Take over `wanted`, values by column; whether that changed anything."""
        changes = {name: value for name, value in wanted.items() if getattr(self, name) != value}
        if "marketing_consent" in changes:
            self.marketing_consent_at = postgres.now() if changes["marketing_consent"] else None
        for name, value in changes.items():
            setattr(self, name, value)
        if changes:
            self.updated_at = postgres.now()
            postgres.session().add(self)
        return bool(changes)

    @classmethod
    def forget(cls, user_id: UUID) -> None:
        postgres.session().execute(delete(cls).where(cls.user_id == user_id))
