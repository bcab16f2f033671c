"""The notifications service's settings."""

from email.utils import parseaddr
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from chassis.base import settings

MAIL_SCHEMES = ("smtp", "smtps")
SMS_SCHEMES = ("sandbox", "twilio", "twilio+http")
DEVELOPMENT_ONLY = ("sandbox", "twilio+http")


class Settings(settings.Settings):
    smtp_url: str = Field(default="smtp://127.0.0.1:2525", repr=False)
    """smtp://[user:password@]host[:port], or smtps:// for implicit TLS. smtp:// uses STARTTLS where offered; a password is never sent
    without TLS."""

    smtp_fallback_url: str = Field(default="", repr=False)
    """A second mail server, for mails that the first did not take."""

    smtp_timeout_seconds: float = Field(default=10, gt=0, le=30)
    """For connecting and for each response. Too short fails on slow servers, too long holds the task's thread."""

    mail_from: str = "Souk <orders@souk.example>"
    """The From of every mail. Its domain is also in Message-IDs, so after a change a resent mail looks like a second one."""

    staff_address: str = ""
    """Gets mails about products that run low; empty: no such mails."""

    sms_url: str = Field(default="sandbox://127.0.0.1:2525", repr=False)
    """twilio://SID:token@api.twilio.com/+15550100, the path being the sender's number; or sandbox://host:port, a development
    mailbox that shows each SMS as a mail."""

    sms_fallback_url: str = Field(default="", repr=False)
    """A second account, for SMS that the first did not take."""

    vapid_key: SecretStr = SecretStr("")
    """Private key of Web Push: the 32 bytes of a P-256 key, base64url. Empty: no pushes. Changing it ends all subscriptions."""

    push_hosts: tuple[str, ...] = (
        "fcm.googleapis.com",
        "push.services.mozilla.com",
        "push.apple.com",
        "notify.windows.com",
    )
    """Allowed push services, with their subdomains. Subscription URLs come from users, who must not make us call anything else."""

    provider_timeout_seconds: float = Field(default=10, gt=0, le=30)
    """For each response of an SMS or push service."""

    link_key: SecretStr = SecretStr("")
    """Signs unsubscribe links; changing it invalidates those in all mails sent so far."""

    public_url: str = "http://127.0.0.1:8000"
    """The API's public base URL, for links in mails."""

    verification_url: str = "http://127.0.0.1:8000/verify-email?token={token}"
    """The shop's page for proving an address, with {token}."""

    reset_url: str = "http://127.0.0.1:8000/reset-password?token={token}"
    """The shop's page for a new password, with {token}."""

    attempt_seconds: float = Field(default=120, gt=0)
    """How long one task owns a message; after that it counts as killed and another takes over. Shorter than a delivery by a
    provider and its standby, messages are sent twice; much longer, those interrupted by a crash are late."""

    max_per_hour: dict[str, int] = Field(default_factory=lambda: {"email": 30, "sms": 6, "push": 30})
    """Messages to one user on a channel in an hour; security messages do not count."""

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
