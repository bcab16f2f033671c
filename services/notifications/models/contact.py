"""How to reach each user: a copy of what the users service tells, so that a mail needs nobody's answer."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import String
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.storage import postgres
from services.notifications.models.base import Base

NOTHING = {"email": None, "username": None, "first_name": None, "last_name": None, "locale": None, "time_zone": None}


class ContactUnknown(Exception):
    """Nobody has told of this user yet: their registration is still on its way, so trying again later helps."""


class Contact(Base):
    """A deleted user's row is a tombstone: no address, no name, so that news that arrive late do not bring them back."""

    __tablename__ = "contacts"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(255))
    username: Mapped[str | None] = mapped_column(String(100))
    first_name: Mapped[str | None] = mapped_column(String(100))
    last_name: Mapped[str | None] = mapped_column(String(100))
    updated_at: Mapped[datetime]
    """When the users service said so, by its clock."""
    locale: Mapped[str | None] = mapped_column(String(20))
    time_zone: Mapped[str | None] = mapped_column(String(50))
    marketing_consent: Mapped[bool] = mapped_column(default=False)
    wishes_at: Mapped[datetime | None]
    """When the users service said these three."""

    @classmethod
    def upsert(cls, user_id: UUID, email: str, username: str, first_name: str, last_name: str, at: datetime) -> None:
        """Keep this unless later news are known. A deletion is final, whatever the clocks say."""
        words = {"email": email, "username": username, "first_name": first_name, "last_name": last_name}
        told = insert(cls).values(user_id=user_id, updated_at=at, **words)
        newer = (cls.updated_at < told.excluded.updated_at) & cls.email.is_not(None)
        postgres.session().execute(_or_update(told, {"updated_at": at, **words}, newer))

    @classmethod
    def erase(cls, user_id: UUID, at: datetime) -> None:
        told = insert(cls).values(user_id=user_id, updated_at=at)
        postgres.session().execute(_or_update(told, {"updated_at": at, **NOTHING}))

    @classmethod
    def get_for_update(cls, user_id: UUID) -> "Contact":
        """The contact, locked: what one person is told is decided one after the other. Raises ContactUnknown."""
        contact = cls.find_for_update(user_id)
        if contact is None:
            raise ContactUnknown(f"Nobody has told of user {user_id} yet.")
        return contact

    @classmethod
    def find_for_update(cls, user_id: UUID) -> "Contact | None":
        return postgres.session().get(cls, user_id, with_for_update=True)

    def set_preferences(self, locale: str, time_zone: str, marketing_consent: bool, at: datetime) -> None:
        """Keep this unless later wishes are known, or the user has left."""
        if self.is_deleted or (self.wishes_at or at) > at:
            return
        self.locale, self.time_zone, self.marketing_consent = locale, time_zone, marketing_consent
        self.wishes_at = at

    @property
    def is_deleted(self) -> bool:
        return self.email is None

    @property
    def name(self) -> str:
        """How to greet them, on one line."""
        return " ".join((self.first_name or self.username or "").split())


def _or_update(told: Any, values: dict[str, Any], condition: Any = None) -> Any:
    return told.on_conflict_do_update(index_elements=["user_id"], set_=values, where=condition)
