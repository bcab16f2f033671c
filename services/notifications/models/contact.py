"""A copy of contact data from users, so that sending needs no call."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import String
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.storage import postgres
from services.notifications.models.base import Base

PERSONAL = ("email", "verified_email", "username", "first_name", "last_name", "locale", "time_zone")


class ContactUnknown(Exception):
    """Not registered here yet; a retry helps."""


class Contact(Base):
    """Deletion leaves a tombstone, against late events."""

    __tablename__ = "contacts"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(255))
    verified_email: Mapped[str | None] = mapped_column(String(255))
    """The last confirmed address."""
    username: Mapped[str | None] = mapped_column(String(100))
    first_name: Mapped[str | None] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    updated_at: Mapped[datetime]
    """By the clock of users."""
    locale: Mapped[str | None] = mapped_column(String(20))
    time_zone: Mapped[str | None] = mapped_column(String(50))
    marketing_consent: Mapped[bool] = mapped_column(default=False)
    wishes_at: Mapped[datetime | None]

    @classmethod
    def upsert(cls, user_id: UUID, email: str, username: str, first_name: str, last_name: str, at: datetime) -> None:
        """Ignored if outdated. Deletion is final."""
        fields = {"email": email, "username": username, "first_name": first_name, "last_name": last_name}
        row = insert(cls).values(user_id=user_id, updated_at=at, **fields)
        newer = (cls.updated_at < row.excluded.updated_at) & cls.email.is_not(None)
        postgres.session().execute(_or_update(row, {"updated_at": at, **fields}, newer))

    @classmethod
    def erase(cls, user_id: UUID, at: datetime) -> None:
        row = insert(cls).values(user_id=user_id, updated_at=at)
        postgres.session().execute(_or_update(row, {"updated_at": at, **dict.fromkeys(PERSONAL)}))

    @classmethod
    def get_for_update(cls, user_id: UUID) -> "Contact":
        """One decision per user at a time. Raises ContactUnknown."""
        contact = cls.find_for_update(user_id)
        if contact is None:
            raise ContactUnknown(f"User {user_id} is not registered here yet.")
        return contact

    @classmethod
    def find_for_update(cls, user_id: UUID) -> "Contact | None":
        return postgres.session().get(cls, user_id, with_for_update=True)

    def set_preferences(self, locale: str, time_zone: str, marketing_consent: bool, at: datetime) -> None:
        """Ignored if outdated or deleted."""
        if self.is_deleted or (self.wishes_at or at) > at:
            return
        self.locale, self.time_zone, self.marketing_consent = locale, time_zone, marketing_consent
        self.wishes_at = at

    @property
    def is_deleted(self) -> bool:
        return self.email is None

    def verify(self, email: str) -> None:
        if not self.is_deleted:
            self.verified_email = email

    def name_for(self, email: str | None) -> str:
        """One line; empty for unverified addresses, since anyone may register those."""
        if email is None or email != self.verified_email:
            return ""
        return " ".join((self.first_name or self.username or "").split())


def _or_update(row: Any, values: dict[str, Any], condition: Any = None) -> Any:
    return row.on_conflict_do_update(index_elements=["user_id"], set_=values, where=condition)
