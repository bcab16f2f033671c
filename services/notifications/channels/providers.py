"""A channel's provider, then its standby, but never both if the first may have the message."""

import time
from urllib.parse import urlsplit

from services.notifications.channels.mail import MailServer
from services.notifications.channels.message import Provider
from services.notifications.channels.sandbox import SandboxSMS
from services.notifications.channels.twilio import Twilio
from services.notifications.kinds import EMAIL
from services.notifications.settings import Settings

UNAVAILABLE_SECONDS = 30.0
"""Tried last for this long, so that not every message waits for its timeout."""

_unavailable_until: dict[str, float] = {}


def alternatives(channel: str, pinned_to: str | None, settings: Settings) -> list[Provider]:
    """Only `pinned_to`, if set: it may have the message."""
    by_mail, by_sms = (settings.smtp_url, settings.smtp_fallback_url), (settings.sms_url, settings.sms_fallback_url)
    configured = [_provider(url, settings) for url in (by_mail if channel == EMAIL else by_sms) if url]
    pinned = [provider for provider in configured if provider.name == pinned_to]
    return pinned or sorted(
        configured, key=lambda provider: _unavailable_until.get(provider.name, 0) > time.monotonic()
    )


def mark_unavailable(provider: Provider) -> None:
    _unavailable_until[provider.name] = time.monotonic() + UNAVAILABLE_SECONDS


def reset_unavailable() -> None:
    _unavailable_until.clear()


def _provider(url: str, settings: Settings) -> Provider:
    scheme = urlsplit(url).scheme
    if scheme == "sandbox":
        return SandboxSMS(url, settings.provider_timeout_seconds)
    if scheme in ("twilio", "twilio+http"):
        return Twilio(url, settings.provider_timeout_seconds)
    return MailServer(url, settings)
