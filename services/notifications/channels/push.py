"""Web Push (RFC 8030, 8291, 8292 "VAPID"), one call per device."""

import json
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from email.utils import parseaddr
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from services.notifications.channels.message import Message, NotTaken, Refused, Unknown
from services.notifications.settings import Settings

if TYPE_CHECKING:
    from pywebpush import WebPushException

KEPT_SECONDS = 24 * 3600
"""For an offline device."""

_ENDED = (404, 410)

# Every parser must read the same host: no credentials, backslash, percent sign or fragment.
_ENDPOINT = re.compile(r"(https?)://([a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::([0-9]{1,5}))?/[A-Za-z0-9._~:/?&=+,;@!$'()*-]*")


class SubscriptionEnded(Exception):
    """By the browser."""


@dataclass(frozen=True)
class Subscription:
    device_id: UUID
    endpoint: str
    p256dh: str
    auth: str

    @property
    def service(self) -> str:
        return f"push {urlsplit(self.endpoint).hostname}"


def is_allowed(endpoint: str, settings: Settings) -> bool:
    """`endpoint` comes from a user."""
    parsed = _ENDPOINT.fullmatch(endpoint)
    if parsed is None:
        return False
    scheme, host, port = parsed.groups()
    is_known = any(host == name or host.endswith(f".{name}") for name in settings.push_hosts)
    if host == "127.0.0.1":
        return is_known and scheme == "http" and settings.environment != "production"
    return is_known and scheme == "https" and port in (None, "443")


def send(message: Message, subscription: Subscription, settings: Settings) -> str:
    """Returns the push service's id. Raises SubscriptionEnded, Refused, NotTaken or Unknown."""
    # 20 MB: import only in processes that push.
    import requests
    from pywebpush import WebPushException, webpush

    from services.notifications.channels import public_https

    if not is_allowed(subscription.endpoint, settings):
        raise Refused("Its push service is not allowed.")
    # Topic replaces an undelivered copy, tag a shown one: a push sent twice is seen once.
    tag = message.id.hex
    content = json.dumps({"title": message.subject, "body": message.text, "tag": tag})
    with public_https.session() as session:
        # Push services must not choose what we call.
        session.max_redirects = 0
        try:
            response = webpush(
                {"endpoint": subscription.endpoint, "keys": {"p256dh": subscription.p256dh, "auth": subscription.auth}},
                content,
                vapid_private_key=settings.vapid_key.get_secret_value(),
                vapid_claims={"sub": f"mailto:{parseaddr(settings.mail_from)[1]}"},
                ttl=KEPT_SECONDS,
                headers={"Topic": tag[:32], "Urgency": "normal"},
                timeout=settings.provider_timeout_seconds,
                requests_session=session,
            )
        except WebPushException as error:
            raise _failure(error) from None
        # Not chained: the errors contain the subscription's URL, with which anyone can push.
        except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError):
            raise NotTaken("Its push service cannot be reached.") from None
        except requests.TooManyRedirects:
            raise Refused("Its push service sent a redirect.") from None
        except requests.RequestException as error:
            if _was_not_connected(error):
                raise NotTaken("Its push service cannot be reached.") from None
            raise Unknown("Its push service did not respond.") from None
        except ValueError:
            raise Refused("The subscription's keys are invalid.") from None
    return str(getattr(response, "headers", {}).get("Location", ""))[-100:]


def _failure(error: "WebPushException") -> Exception:
    status = error.status_code
    if status in _ENDED:
        return SubscriptionEnded(f"{status}")
    if status is None or status == 429 or status in (401, 403):
        # Our key's fault: wait until it is fixed.
        return NotTaken(f"{status}") if status else Refused("The message cannot be encrypted for this subscription.")
    return Unknown(f"{status}") if status >= 500 else Refused(f"{status}")


def _was_not_connected(error: Exception) -> bool:
    from urllib3.exceptions import NewConnectionError

    return isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError)


def public_key(settings: Settings) -> str:
    """`applicationServerKey`, base64url."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from py_vapid import Vapid

    vapid = Vapid.from_string(settings.vapid_key.get_secret_value())
    point = vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(point).rstrip(b"=").decode()
