"""What the notifications service is told by its environment."""

from email.utils import parseaddr
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from chassis import settings


class Settings(settings.Settings):
    smtp_url: str = Field(default="smtp://127.0.0.1:2525", repr=False)
    """smtp://[user:password@]host[:port], or smtps:// for TLS from the first byte. With smtp:// STARTTLS is used where it is
    offered; a password never travels without TLS."""

    smtp_timeout_seconds: float = Field(default=10, gt=0, le=30)
    """For connecting and for each answer. Too short loses slow mail servers, too long holds the task's thread."""

    mail_from: str = "Souk <orders@souk.example>"
    """The From of every mail. Its domain is also that of the Message-IDs: a change lets a mail sent twice look like two."""

    @field_validator("smtp_url")
    @classmethod
    def names_a_mail_server(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.port == 0:
            raise ValueError("must be smtp://host:port or smtps://host:port")
        return url

    @field_validator("mail_from")
    @classmethod
    def is_an_address(cls, value: str) -> str:
        local, _, domain = parseaddr(value)[1].rpartition("@")
        if not (local and domain and value.isprintable()):
            raise ValueError('must be an address such as "Souk <orders@souk.example>"')
        return value
