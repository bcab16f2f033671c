"""Sessions, extended by single-use refresh tokens.

Reuse within REPEAT_WINDOW gives the same successor, for lost responses and parallel tabs. Later, or once the successor
was used, it proves theft and ends the session.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID, uuid4

from sqlalchemy import Index, String, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.security.tokens import AccessToken
from chassis.storage import postgres
from services.users.models import Base
from services.users.models.revoked_token import RevokedToken
from services.users.settings import Settings

MAX_IDLE = timedelta(days=30)
"""Since the last refresh."""

MAX_LENGTH = timedelta(days=180)

REPEAT_WINDOW = timedelta(seconds=90)
"""How long a used token gives its successor again. Exceeds client (60 s in browsers) plus edge timeout (10 s): shorter
logs out clients whose response was lost, longer helps thieves.
"""


class Session(Base):
    __tablename__ = "sessions"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    ended_by: Mapped[str | None] = mapped_column(String(20))

    __table_args__ = (
        Index("sessions_open", "user_id", postgresql_where=text("ended_at IS NULL")),
        Index("sessions_old", "expires_at"),
    )

    @classmethod
    def start(cls, user_id: UUID) -> Self:
        now = clock.now()
        session = cls(id=uuid4(), user_id=user_id, created_at=now, expires_at=now + MAX_IDLE)
        postgres.session().add(session)
        postgres.session().flush()
        return session

    @property
    def is_open(self) -> bool:
        return self.ended_at is None and clock.now() < self.expires_at + LEEWAY

    def end(self, by: str) -> None:
        """Access tokens are refused within seconds."""
        _end([self.id], by)

    @classmethod
    def end_all(cls, user_id: UUID, by: str, except_for: UUID | None = None) -> int:
        query = select(cls.id).where(
            cls.user_id == user_id, cls.ended_at.is_(None), cls.id.is_distinct_from(except_for)
        )
        return _end(postgres.session().scalars(query.with_for_update()).all(), by)

    @classmethod
    def revoke_access(cls, user_id: UUID) -> None:
        """So that the next refresh brings current roles."""
        _revoke_access(
            postgres.session().scalars(select(cls.id).where(cls.user_id == user_id, cls.ended_at.is_(None))).all()
        )

    def extend(self) -> None:
        self.expires_at = min(clock.now() + MAX_IDLE, self.created_at + MAX_LENGTH)


class RefreshToken(Base):
    """`parent`: digest of the token it replaced; `access_token_id`: `jti` issued with it."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[UUID]
    parent: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    is_superseded: Mapped[bool] = mapped_column(default=False)
    """Set by earlier releases only."""
    access_token_id: Mapped[str] = mapped_column(String(64))
    access_ends_at: Mapped[datetime]

    __table_args__ = (
        Index("refresh_tokens_of_session", "session_id", "access_ends_at"),
        Index("refresh_tokens_parent", "parent"),
        Index("refresh_tokens_used", "used_at"),
    )

    @classmethod
    def issue(cls, session_id: UUID, access: AccessToken, predecessor: str | None = None) -> str:
        """Follows `predecessor` if given; only the digest is stored."""
        value = secrets.token_urlsafe(32) if predecessor is None else successor_of(predecessor)
        token = cls(
            digest=digest_of(value),
            session_id=session_id,
            parent=None if predecessor is None else digest_of(predecessor),
            created_at=clock.now(),
            access_token_id=access.id,
            access_ends_at=access.expires_at,
        )
        postgres.session().add(token)
        return value

    @classmethod
    def find(cls, value: str) -> Self | None:
        return postgres.session().get(cls, digest_of(value))

    def lock_session(self) -> Session:
        session = postgres.session().get_one(Session, self.session_id, with_for_update=True)
        # Another request may have used it while we waited for the lock.
        postgres.session().refresh(self)
        return session

    def was_stolen(self, now: datetime) -> bool:
        """Whether presenting it now proves that two parties hold it."""
        if self.is_superseded:
            return True
        if self.used_at is None:
            return False
        used_successors = select(RefreshToken.digest).where(
            RefreshToken.parent == self.digest, RefreshToken.used_at.is_not(None)
        )
        return (
            now > self.used_at + REPEAT_WINDOW + LEEWAY
            or postgres.session().scalar(used_successors.limit(1)) is not None
        )


def successor_of(token: str) -> str:
    """Deterministic, as only digests are stored."""
    secret = Settings.current().request_secret.get_secret_value().encode()
    mac = hmac.new(secret, b"refresh token\0" + token.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac.digest()).decode().rstrip("=")


def digest_of(token: str) -> str:
    # A slow hash is unnecessary for 256 random bits.
    return hashlib.sha256(token.encode()).hexdigest()


def _end(session_ids: Sequence[UUID], by: str) -> int:
    if session_ids:
        statement = update(Session).where(Session.id.in_(session_ids)).values(ended_at=clock.now(), ended_by=by)
        postgres.session().execute(statement)
        _revoke_access(session_ids)
    return len(session_ids)


def _revoke_access(session_ids: Sequence[UUID]) -> None:
    valid = select(RefreshToken.access_token_id, RefreshToken.access_ends_at).where(
        RefreshToken.session_id.in_(session_ids), RefreshToken.access_ends_at > clock.now() - LEEWAY
    )
    RevokedToken.add({row.access_token_id: row.access_ends_at for row in postgres.session().execute(valid)})
