"""Worker timers."""

from datetime import timedelta

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.run.service import Timer
from chassis.storage import postgres
from services.users.models import security_event
from services.users.models.request import Request
from services.users.models.revoked_token import RevokedToken, publish_missing
from services.users.models.security_event import SecurityEvent
from services.users.models.session import RefreshToken, Session

USED_TOKENS_KEPT = timedelta(days=1)
"""How long reuse counts as theft."""


def purge() -> bool:
    """Whether there may be more."""
    now = clock.now()
    expired = now - LEEWAY
    more = [
        postgres.purge(RevokedToken.__table__, RevokedToken.ends_at < expired),
        postgres.purge(Request.__table__, Request.expires_at < expired),
        postgres.purge(RefreshToken.__table__, RefreshToken.used_at < now - USED_TOKENS_KEPT),
        postgres.purge(Session.__table__, Session.expires_at < expired),
        postgres.purge(SecurityEvent.__table__, SecurityEvent.occurred_at < now - security_event.KEPT),
    ]
    return any(more)


TIMERS = (Timer(2, publish_missing), Timer(600, purge))
