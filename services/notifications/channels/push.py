"""Web Push (RFC 8030, 8291, 8292 "VAPID") by pywebpush: one call per device."""

import json
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
"""How long the push service keeps it for an offline device."""

_ENDED = (404, 410)


class SubscriptionEnded(Exception):
    """The browser ended the subscription."""


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
    """Whether we may call this URL, which comes from a user."""
    try:
        parts = urlsplit(endpoint)
        host, port = (parts.hostname or ""), parts.port
    except ValueError:
        return False
    if parts.username or parts.password or parts.fragment:
        return False
    is_known = any(host == name or host.endswith(f".{name}") for name in settings.push_hosts)
    if host == "127.0.0.1" and settings.environment != "production":
        return is_known
    return is_known and parts.scheme == "https" and port in (None, 443)


def send(message: Message, subscription: Subscription, settings: Settings) -> str:
    """The push service's id of the message. Raises SubscriptionEnded, Refused, NotTaken or Unknown."""
    # 20 MB with its dependencies: only processes that push import it.
    import requests
    from pywebpush import WebPushException, webpush

    if not is_allowed(subscription.endpoint, settings):
        raise Refused("Its push service is not allowed.")
    # Topic replaces an undelivered copy at the service, tag a shown one in the browser: a push sent twice is seen once.
    tag = message.id.hex
    content = json.dumps({"title": message.subject, "body": message.text, "tag": tag})
    with requests.Session() as session:
        # Push services do not redirect, and must not choose what we call.
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
            raise _failure(error) from error
        except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as error:
            raise NotTaken(repr(error)) from error
        except requests.TooManyRedirects as error:
            raise Refused("Its push service sent a redirect.") from error
        except requests.RequestException as error:
            raise Unknown(repr(error)) from error
        except ValueError as error:
            raise Refused(f"The subscription's keys are invalid: {error}") from error
    return str(getattr(response, "headers", {}).get("Location", ""))[-100:]


def _failure(error: "WebPushException") -> Exception:
    status = error.status_code
    if status in _ENDED:
        return SubscriptionEnded(f"{status}")
    if status is None or status == 429 or status in (401, 403):
        # A problem with our key: the message waits until it is fixed.
        return NotTaken(str(error)) if status else Refused(str(error))
    return Unknown(f"{status}") if status >= 500 else Refused(f"{status}")


def public_key(settings: Settings) -> str:
    """The `applicationServerKey` that browsers subscribe with, base64url."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from py_vapid import Vapid

    vapid = Vapid.from_string(settings.vapid_key.get_secret_value())
    point = vapid.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(point).rstrip(b"=").decode()
