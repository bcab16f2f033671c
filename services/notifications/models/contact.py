"""How to reach each user: a copy of what the users service tells, so that a mail needs nobody's answer."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import String
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis import db
from services.notifications.models.base import Base

NOTHING = {"email": None, "username": None, "first_name": None, "last_name": None}


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

    @classmethod
    def remember(
        cls, user_id: UUID, email: str, username: str, first_name: str, last_name: str, said_at: datetime
    ) -> None:
        """Keep this unless later news are known. A deletion is final, whatever the clocks say."""
        words = {"email": email, "username": username, "first_name": first_name, "last_name": last_name}
        told = insert(cls).values(user_id=user_id, updated_at=said_at, **words)
        newer = (cls.updated_at < told.excluded.updated_at) & cls.email.is_not(None)
        db.session().execute(_or_update(told, {"updated_at": said_at, **words}, newer))

    @classmethod
    def forget(cls, user_id: UUID, said_at: datetime) -> None:
        told = insert(cls).values(user_id=user_id, updated_at=said_at)
        db.session().execute(_or_update(told, {"updated_at": said_at, **NOTHING}))

    @classmethod
    def known(cls, user_id: UUID) -> "Contact":
        """The contact, kept as it is until the transaction ends. Raises ContactUnknown."""
        contact = db.session().get(cls, user_id, with_for_update={"read": True})
        if contact is None:
            raise ContactUnknown(f"Nobody has told of user {user_id} yet.")
        return contact

    @property
    def is_deleted(self) -> bool:
        return self.email is None

    @property
    def name(self) -> str:
        """How to greet them, on one line."""
        return " ".join((self.first_name or self.username or "").split())


def _or_update(told: Any, values: dict[str, Any], condition: Any = None) -> Any:
    return told.on_conflict_do_update(index_elements=["user_id"], set_=values, where=condition)
