"""Links in messages: to stop a kind of mail without a login, and to the shop's own pages."""

from dataclasses import dataclass
from uuid import UUID

from itsdangerous import BadSignature, URLSafeSerializer

from chassis.base.problems import NotFound
from services.notifications.kinds import EMAIL, KINDS, Kind
from services.notifications.settings import Settings


@dataclass(frozen=True)
class Subscription:
    """What a link ends: mails of one kind to one person."""

    user_id: UUID
    kind: str


def unsubscribe_url(user_id: UUID, kind: Kind) -> str:
    """The URL that ends these mails; empty for what cannot be ended. The same at each call, as a mail composed again must be."""
    if EMAIL in kind.fixed or (kind.is_internal and kind.name != "digest"):
        return ""
    token = _signer().dumps([str(user_id), kind.name])
    return f"{Settings.current().public_url.rstrip('/')}/notifications/unsubscribe/{token}"


def read_unsubscribe(token: str) -> Subscription:
    """Raises NotFound for a token that we did not sign."""
    try:
        user_id, kind = _signer().loads(token)
        return Subscription(UUID(user_id), KINDS[kind].name)
    except (BadSignature, ValueError, TypeError, KeyError):
        raise NotFound("This link is not one of ours, or is not whole.") from None


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(Settings.current().link_key.get_secret_value(), salt="unsubscribe")
