"""What the users worker does every so often: Redis kept informed, and forgotten what is of no use any more."""

from datetime import timedelta

from sqlalchemy import delete

from chassis.run.service import Timer
from chassis.storage import postgres
from services.users.models import security_event
from services.users.models.request import Request
from services.users.models.revoked_token import RevokedToken, catch_up
from services.users.models.security_event import SecurityEvent
from services.users.models.session import RefreshToken, Session

USED_TOKENS_KEPT = timedelta(days=1)
"""So long the second use of a refresh token is known for a theft; after that it is a token that nobody knows."""


def forget() -> None:
    """Delete what has ended."""
    now = postgres.now()
    for ended in (
        delete(RevokedToken).where(RevokedToken.ends_at < now),
        delete(Request).where(Request.expires_at < now),
        delete(RefreshToken).where(RefreshToken.used_at < now - USED_TOKENS_KEPT),
        delete(Session).where(Session.expires_at < now),
        delete(SecurityEvent).where(SecurityEvent.occurred_at < now - security_event.KEPT),
    ):
        postgres.session().execute(ended)


TIMERS = (Timer(2, catch_up), Timer(600, forget))
