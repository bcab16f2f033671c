"""Revoked access tokens, published to Redis for all services."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import String, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column
from structlog import get_logger

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.storage import postgres
from services.users.models import Base
from services.users.settings import Settings

log = get_logger(__name__)

PUBLISHED_UNTIL = "souk:revoked-until"
"""Redis key: published up to this time."""

OVERLAP = timedelta(minutes=1)
"""Longer than any transaction: revocations may commit out of order."""


class RevokedToken(Base):
    __tablename__ = "revoked_tokens"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime] = mapped_column(index=True)

    @classmethod
    def add(cls, tokens: Mapping[str, datetime]) -> None:
        """`tokens`: expiry by `jti`. Published after the commit."""
        if not tokens:
            return
        now = clock.now()
        rows = [{"id": token_id, "ends_at": ends_at, "revoked_at": now} for token_id, ends_at in tokens.items()]
        postgres.session().execute(insert(cls).values(rows).on_conflict_do_nothing())
        postgres.after_commit(lambda: _publish(tokens))


def _publish(tokens: Mapping[str, datetime]) -> None:
    from chassis.security import revocations
    from chassis.storage import redis

    settings = Settings.current()
    if settings.redis_url:
        try:
            revocations.publish(tokens, settings)
        except redis.RedisError as error:
            log.warning("revocations not published", count=len(tokens), error=repr(error))


def publish_missing() -> None:
    """What Redis missed or lost. Raises RedisError."""
    settings, now = Settings.current(), clock.now()
    valid = select(RevokedToken.id, RevokedToken.ends_at).where(RevokedToken.ends_at > now - LEEWAY)
    if not settings.redis_url or postgres.session().execute(valid.limit(1)).first() is None:
        # Spares the worker the Redis client's memory.
        return
    from chassis.security import revocations
    from chassis.storage import redis

    client = redis.client(settings.redis_url)
    published_until = client.get(PUBLISHED_UNTIL)
    if published_until is not None:
        valid = valid.where(RevokedToken.revoked_at > datetime.fromisoformat(_text(published_until)) - OVERLAP)
    revocations.publish({row.id: row.ends_at for row in postgres.session().execute(valid)}, settings)
    client.set(PUBLISHED_UNTIL, now.isoformat())


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
