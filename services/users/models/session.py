"""A session: what one login opened, carried on by refresh tokens that are each good for one use.

A refresh token is random and kept as its digest. Its use gives the next one; whoever shows a used one is either a client
whose answer was lost, which tries again at once, or one of two who hold the same token, one of them a thief. Then the
session ends.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID, uuid4

from sqlalchemy import Index, String, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

from chassis.security.tokens import AccessToken
from chassis.storage import postgres
from services.users.models import Base
from services.users.models.revoked_token import RevokedToken

IDLE = timedelta(days=30)
"""A session that is not used ends so long after its last refresh."""

MAX_LENGTH = timedelta(days=180)
"""Then the password is asked for again, however often the session was used."""

LOST_ANSWER = timedelta(seconds=10)
"""How long a client may ask again with a token whose answer it has not got."""


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
    def begin(cls, user_id: UUID) -> Self:
        now = postgres.now()
        session = cls(id=uuid4(), user_id=user_id, created_at=now, expires_at=now + IDLE)
        postgres.session().add(session)
        postgres.session().flush()
        return session

    @property
    def is_open(self) -> bool:
        return self.ended_at is None and postgres.now() < self.expires_at

    def end(self, by: str) -> None:
        """Nothing of it is worth anything any more: its refresh tokens at once, its access tokens within seconds."""
        _end([self.id], by)

    @classmethod
    def end_all(cls, user_id: UUID, by: str, but: UUID | None = None) -> int:
        """End every session of the user, `but` one; gives how many."""
        query = select(cls.id).where(cls.user_id == user_id, cls.ended_at.is_(None), cls.id.is_distinct_from(but))
        return _end(postgres.session().scalars(query.with_for_update()).all(), by)

    @classmethod
    def call_back_access(cls, user_id: UUID) -> None:
        """End the access tokens of the user's sessions, so that the next refresh brings tokens that tell of today's roles."""
        _revoke_access(
            postgres.session().scalars(select(cls.id).where(cls.user_id == user_id, cls.ended_at.is_(None))).all()
        )

    def keep_alive(self) -> None:
        self.expires_at = min(postgres.now() + IDLE, self.created_at + MAX_LENGTH)


class RefreshToken(Base):
    """`parent` is the digest of the token in exchange for which it was given; `access_token_id` the `jti` given with it."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[UUID]
    parent: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    is_superseded: Mapped[bool]
    access_token_id: Mapped[str] = mapped_column(String(64))
    access_ends_at: Mapped[datetime]

    __table_args__ = (
        Index("refresh_tokens_of_session", "session_id", "access_ends_at"),
        Index("refresh_tokens_parent", "parent"),
        Index("refresh_tokens_used", "used_at"),
    )

    @classmethod
    def issue(cls, session_id: UUID, access: AccessToken, parent: str | None = None) -> str:
        """A new token's text, which only its holder will know."""
        words = secrets.token_urlsafe(32)
        token = cls(
            digest=digest_of(words),
            session_id=session_id,
            parent=parent,
            created_at=postgres.now(),
            is_superseded=False,
            access_token_id=access.id,
            access_ends_at=access.expires_at,
        )
        postgres.session().add(token)
        return words

    def was_stolen(self, now: datetime) -> bool:
        """Whether this token, shown now, is in more hands than one."""
        if self.is_superseded:
            return True
        if self.used_at is None:
            return False
        successors = select(RefreshToken.digest).where(
            RefreshToken.parent == self.digest, RefreshToken.used_at.is_not(None)
        )
        return now > self.used_at + LOST_ANSWER or postgres.session().scalar(successors.limit(1)) is not None

    def use(self, now: datetime) -> None:
        """What was given for it before, and never used, is worth nothing from now on: a token has one successor."""
        self.used_at = self.used_at or now
        postgres.session().execute(
            update(RefreshToken).where(RefreshToken.parent == self.digest).values(is_superseded=True)
        )


@dataclass(frozen=True)
class Shown:
    """A refresh token that is known, with its session, which is locked."""

    token: RefreshToken
    session: Session


def shown(words: str) -> Shown | None:
    """None for a token that is not known, or no longer."""
    found = postgres.session().get(RefreshToken, digest_of(words))
    if found is None:
        return None
    session = postgres.session().get_one(Session, found.session_id, with_for_update=True)
    # Two at once with one token: the second sees, once it has the lock, what the first did.
    postgres.session().refresh(found)
    return Shown(found, session)


def digest_of(words: str) -> str:
    # These are 256 random bits: there is nothing to guess that a slow hash would protect.
    return hashlib.sha256(words.encode()).hexdigest()


def _end(session_ids: Sequence[UUID], by: str) -> int:
    if session_ids:
        statement = update(Session).where(Session.id.in_(session_ids)).values(ended_at=postgres.now(), ended_by=by)
        postgres.session().execute(statement)
        _revoke_access(session_ids)
    return len(session_ids)


def _revoke_access(session_ids: Sequence[UUID]) -> None:
    alive = select(RefreshToken.access_token_id, RefreshToken.access_ends_at).where(
        RefreshToken.session_id.in_(session_ids), RefreshToken.access_ends_at > postgres.now()
    )
    RevokedToken.add({row.access_token_id: row.access_ends_at for row in postgres.session().execute(alive)})
