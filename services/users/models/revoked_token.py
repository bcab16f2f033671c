"""An access token that was called back: the truth of what Redis is told, which every service asks."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import String, event, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column
from structlog import get_logger

from chassis.storage import postgres
from services.users.models import Base
from services.users.settings import Settings

log = get_logger(__name__)

TOLD = "souk:revoked-until"
"""In Redis, up to when it knows of everything: it is as old as all else that Redis remembers, or gone with it."""

OVERLAP = timedelta(minutes=1)
"""Longer than a transaction may take: what was revoked then may have been committed after we looked."""


class RevokedToken(Base):
    """`id` is the token's `jti`."""

    __tablename__ = "revoked_tokens"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime] = mapped_column(index=True)

    @classmethod
    def add(cls, tokens: Mapping[str, datetime]) -> None:
        """Revoke these, given with the time each ends by itself. Redis hears of it as soon as that is committed."""
        if not tokens:
            return
        now = postgres.now()
        rows = [{"id": token_id, "ends_at": ends_at, "revoked_at": now} for token_id, ends_at in tokens.items()]
        postgres.session().execute(insert(cls).values(rows).on_conflict_do_nothing())
        event.listen(postgres.session(), "after_commit", lambda _: _tell(tokens), once=True)


def _tell(tokens: Mapping[str, datetime]) -> None:
    from chassis.security import revocations
    from chassis.storage import redis

    settings = Settings.current()
    if settings.redis_url:
        try:
            revocations.publish(tokens, settings)
        except redis.RedisError as error:
            log.warning("revocations wait for Redis", count=len(tokens), error=repr(error))


def catch_up() -> None:
    """Tell Redis again what it may have missed or forgotten. Raises RedisError while it is away."""
    settings, now = Settings.current(), postgres.now()
    alive = select(RevokedToken.id, RevokedToken.ends_at).where(RevokedToken.ends_at > now)
    if not settings.redis_url or postgres.session().execute(alive.limit(1)).first() is None:
        # Mostly there is nothing to tell, and the worker is spared the Redis client's memory.
        return
    from chassis.security import revocations
    from chassis.storage import redis

    client = redis.client(settings.redis_url)
    told = client.get(TOLD)
    if told is not None:
        alive = alive.where(RevokedToken.revoked_at > datetime.fromisoformat(_text(told)) - OVERLAP)
    revocations.publish({row.id: row.ends_at for row in postgres.session().execute(alive)}, settings)
    client.set(TOLD, now.isoformat())


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
