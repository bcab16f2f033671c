"""Mail-confirmed requests: verify an address, reset a password.

Tokens derive from the row's id and a secret and are never stored; notifications fetches them before mailing.
"""

import base64
import binascii
import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Literal, Self
from uuid import UUID, uuid4

from sqlalchemy import Index, String, delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import Problem
from chassis.storage import postgres
from services.users.models import Base
from services.users.settings import Settings

Purpose = Literal["email", "password"]

MAX_PER_HOUR = 5
"""Per account and purpose."""

LIFETIME: dict[Purpose, timedelta] = {"email": timedelta(days=3), "password": timedelta(hours=1)}


class TokenRefused(Problem):
    type, status, title = "/problems/token-refused", 422, "Invalid or expired token"


class Request(Base):
    """`user_id` is null if the address has no account."""

    __tablename__ = "requests"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID | None]
    purpose: Mapped[str] = mapped_column(String(20))
    email: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]

    __table_args__ = (Index("requests_of_user", "user_id", "purpose"),)

    @classmethod
    def create(cls, purpose: Purpose, user_id: UUID | None, email: str | None) -> Self | None:
        """Replaces earlier requests. None beyond MAX_PER_HOUR."""
        now = clock.now()
        same = (cls.user_id == user_id) & (cls.purpose == purpose)
        recent = select(cls.id).where(same, cls.created_at > now - timedelta(hours=1)).limit(MAX_PER_HOUR)
        if len(postgres.session().scalars(recent).all()) == MAX_PER_HOUR and user_id is not None:
            return None
        postgres.session().execute(update(cls).where(same, cls.used_at.is_(None)).values(used_at=now))
        expires_at = now + LIFETIME[purpose]
        request = cls(id=uuid4(), user_id=user_id, purpose=purpose, email=email, created_at=now, expires_at=expires_at)
        postgres.session().add(request)
        return request

    @classmethod
    def find_open(cls, request_id: UUID, lock: bool = False) -> Self | None:
        """None if used, expired or without account."""
        found = postgres.session().get(cls, request_id, with_for_update=lock)
        if (
            found is None
            or found.user_id is None
            or found.used_at is not None
            or found.expires_at + clock.LEEWAY <= clock.now()
        ):
            return None
        return found

    @classmethod
    def by_token(cls, token: str, purpose: Purpose, lock: bool = False) -> Self:
        """Raises TokenRefused."""
        request_id = _verified_id(token)
        found = None if request_id is None else cls.find_open(request_id, lock)
        if found is None or found.purpose != purpose:
            raise refused()
        return found

    @property
    def token(self) -> str:
        return base64.urlsafe_b64encode(self.id.bytes + _mac(self.id)).decode().rstrip("=")

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        postgres.session().execute(delete(cls).where(cls.user_id == user_id))


def refused() -> TokenRefused:
    message = "is unknown, used or expired"
    return TokenRefused(f"token: {message}", errors=[{"field": "token", "message": message}])


def _verified_id(token: str) -> UUID | None:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return None
    if len(raw) != 48:
        return None
    request_id = UUID(bytes=raw[:16])
    return request_id if hmac.compare_digest(raw[16:], _mac(request_id)) else None


def _mac(request_id: UUID) -> bytes:
    key = Settings.current().request_secret.get_secret_value().encode()
    return hmac.new(key, request_id.bytes, hashlib.sha256).digest()
