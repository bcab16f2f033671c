"""Signed unsubscribe links."""

from dataclasses import dataclass
from uuid import UUID

from itsdangerous import BadSignature, URLSafeSerializer

from chassis.base.problems import NotFound
from services.notifications.kinds import EMAIL, KINDS, Kind
from services.notifications.settings import Settings


@dataclass(frozen=True)
class Subscription:
    user_id: UUID
    kind: str


def unsubscribe_url(user_id: UUID, kind: Kind) -> str:
    """Empty if they cannot be turned off. Deterministic."""
    if EMAIL in kind.fixed or (kind.is_internal and kind.name != "digest"):
        return ""
    token = _signer().dumps([str(user_id), kind.name])
    return f"{Settings.current().public_url.rstrip('/')}/notifications/unsubscribe/{token}"


def read_unsubscribe(token: str) -> Subscription:
    """Raises NotFound unless signed by us."""
    try:
        user_id, kind = _signer().loads(token)
        return Subscription(UUID(user_id), KINDS[kind].name)
    except (BadSignature, ValueError, TypeError, KeyError):
        raise NotFound("This link is invalid or incomplete.") from None


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(Settings.current().link_key.get_secret_value(), salt="unsubscribe")
