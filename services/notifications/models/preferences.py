"""Channels per kind, quiet hours, digests."""

from datetime import time
from enum import StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import SmallInteger, String, delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.storage import postgres
from services.notifications.kinds import Kind
from services.notifications.models.base import Base


class Digest(StrEnum):
    NONE = "none"
    HOURLY = "hourly"
    DAILY = "daily"


class Preferences(Base):
    __tablename__ = "preferences"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    choices: Mapped[dict[str, Any]]
    """kind → channel → wanted; non-defaults only."""
    phone: Mapped[str | None] = mapped_column(String(20))
    """E.164."""
    quiet_from: Mapped[time | None]
    quiet_until: Mapped[time | None]
    """Local, both or neither; may span midnight."""
    time_zone: Mapped[str | None] = mapped_column(String(50))
    """IANA; defaults to the account's."""
    digest: Mapped[str] = mapped_column(String(10))
    digest_hour: Mapped[int] = mapped_column(SmallInteger)
    """Local."""

    @classmethod
    def of(cls, user_id: UUID) -> "Preferences":
        """Defaults are not in the session."""
        return postgres.session().get(cls, user_id) or cls(
            user_id=user_id, choices={}, digest=Digest.NONE, digest_hour=8
        )

    @classmethod
    def to_change(cls, user_id: UUID) -> "Preferences":
        """Locked; created if missing."""
        fresh = insert(cls).values(user_id=user_id, choices={}, digest=Digest.NONE, digest_hour=8)
        postgres.session().execute(fresh.on_conflict_do_nothing())
        return postgres.session().get_one(cls, user_id, with_for_update=True)

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        postgres.session().execute(delete(cls).where(cls.user_id == user_id))

    def wants(self, kind: Kind, channel: str) -> bool:
        if channel in kind.fixed:
            return True
        chosen = self.choices.get(kind.name, {}).get(channel, channel in kind.on)
        return channel in kind.offered and bool(chosen)

    def choose(self, kind: str, channel: str, wanted: bool) -> None:
        of_kind = {**self.choices.get(kind, {}), channel: wanted}
        self.choices = {**self.choices, kind: of_kind}

    def zone(self, of_account: str | None) -> ZoneInfo:
        """UTC if unset or unknown."""
        try:
            return ZoneInfo(self.time_zone or of_account or "UTC")
        except (ZoneInfoNotFoundError, ValueError):
            return ZoneInfo("UTC")
