"""Worker timers."""

from datetime import timedelta

from sqlalchemy import delete

from chassis.base import clock
from chassis.run.service import Timer
from chassis.security.tokens import LEEWAY
from chassis.storage import postgres
from services.users.models import security_event
from services.users.models.request import Request
from services.users.models.revoked_token import RevokedToken, publish_missing
from services.users.models.security_event import SecurityEvent
from services.users.models.session import RefreshToken, Session

USED_TOKENS_KEPT = timedelta(days=1)
"""How long reuse counts as theft."""


def purge() -> None:
    now = clock.now()
    for expired in (
        delete(RevokedToken).where(RevokedToken.ends_at < now - LEEWAY),
        delete(Request).where(Request.expires_at < now),
        delete(RefreshToken).where(RefreshToken.used_at < now - USED_TOKENS_KEPT),
        delete(Session).where(Session.expires_at < now),
        delete(SecurityEvent).where(SecurityEvent.occurred_at < now - security_event.KEPT),
    ):
        postgres.session().execute(expired)


TIMERS = (Timer(2, publish_missing), Timer(600, purge))
