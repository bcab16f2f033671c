"""What the notifications service is told by its environment."""

from email.utils import parseaddr
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from chassis.base import settings

MAIL_SCHEMES = ("smtp", "smtps")
SMS_SCHEMES = ("sandbox", "twilio", "twilio+http")
DEVELOPMENT_ONLY = ("sandbox", "twilio+http")


class Settings(settings.Settings):
    smtp_url: str = Field(default="smtp://127.0.0.1:2525", repr=False)
    """smtp://[user:password@]host[:port], or smtps:// for TLS from the first byte. With smtp:// STARTTLS is used where it is
    offered; a password never travels without TLS."""

    smtp_fallback_url: str = Field(default="", repr=False)
    """A second mail server, for what the first surely did not take."""

    smtp_timeout_seconds: float = Field(default=10, gt=0, le=30)
    """For connecting and for each answer. Too short loses slow mail servers, too long holds the task's thread."""

    mail_from: str = "Souk <orders@souk.example>"
    """The From of every mail. Its domain is also that of the Message-IDs: a change lets a mail sent twice look like two."""

    staff_address: str = ""
    """Who hears of products that run low; empty: nobody."""

    sms_url: str = Field(default="sandbox://127.0.0.1:2525", repr=False)
    """twilio://SID:token@api.twilio.com/+15550100, the path being the sender's number; or sandbox://host:port, a development
    mailbox that shows each SMS as a mail and delivers to nobody."""

    sms_fallback_url: str = Field(default="", repr=False)
    """A second account, for what the first surely did not take."""

    vapid_key: SecretStr = SecretStr("")
    """Private key of Web Push: the 32 bytes of a P-256 key, base64url. Empty: no pushes. Another key ends all subscriptions."""

    push_hosts: tuple[str, ...] = (
        "fcm.googleapis.com",
        "push.services.mozilla.com",
        "push.apple.com",
        "notify.windows.com",
    )
    """The push services that we call, and their subdomains: a subscription's URL comes from its user, who must not be able to
    have us call anything else."""

    provider_timeout_seconds: float = Field(default=10, gt=0, le=30)
    """For each answer of an SMS or push service."""

    link_key: SecretStr = SecretStr("")
    """Signs the links that end mails; another key makes the links of all mails sent so far invalid."""

    public_url: str = "http://127.0.0.1:8000"
    """Where a mail's reader reaches the API."""

    verification_url: str = "http://127.0.0.1:8000/verify-email?token={token}"
    reset_url: str = "http://127.0.0.1:8000/reset-password?token={token}"
    """The shop's pages to which a mail leads."""

    attempt_seconds: float = Field(default=120, gt=0)
    """How long a message is one task's to send; an attempt that has not ended by then was killed, and another task takes over.
    Shorter than a conversation with a provider and its stand-by, and people are told twice; much longer, and what a crash
    interrupted is late."""

    max_per_hour: dict[str, int] = Field(default_factory=lambda: {"email": 30, "sms": 6, "push": 30})
    """Messages to one person on a channel in an hour; what is about security does not count."""

    @field_validator("smtp_url", "smtp_fallback_url")
    @classmethod
    def names_a_mail_server(cls, url: str, info: ValidationInfo) -> str:
        if url or info.field_name == "smtp_url":
            _expect_server(url, MAIL_SCHEMES, "smtp://host:port or smtps://host:port")
        return url

    @field_validator("sms_url", "sms_fallback_url")
    @classmethod
    def names_an_sms_service(cls, url: str) -> str:
        if url:
            parts = _expect_server(
                url, SMS_SCHEMES, "twilio://SID:token@api.twilio.com/+15550100 or sandbox://host:port"
            )
            if parts.scheme != "sandbox" and not (parts.username and parts.password and parts.path.startswith("/+")):
                raise ValueError("must name the account, its token and the sender: twilio://SID:token@host/+15550100")
        return url

    @field_validator("mail_from")
    @classmethod
    def is_an_address(cls, value: str) -> str:
        local, _, domain = parseaddr(value)[1].rpartition("@")
        if not (local and domain and value.isprintable()):
            raise ValueError('must be an address such as "Souk <orders@souk.example>"')
        return value

    @field_validator("verification_url", "reset_url")
    @classmethod
    def takes_a_token(cls, url: str) -> str:
        if "{token}" not in url:
            raise ValueError("must hold {token}")
        return url

    @model_validator(mode="after")
    def suits_production(self) -> "Settings":
        if self.environment == "production":
            for url in (self.sms_url, self.sms_fallback_url):
                if urlsplit(url).scheme in DEVELOPMENT_ONLY:
                    raise ValueError("SOUK_SMS_URL and SOUK_SMS_FALLBACK_URL: in production only twilio:// or nothing")
        return self


def _expect_server(url: str, schemes: tuple[str, ...], form: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname or parts.port == 0:
        raise ValueError(f"must be {form}")
    return parts
