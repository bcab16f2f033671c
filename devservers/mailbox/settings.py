"""The mailbox's settings."""

from typing import NamedTuple


class Settings(NamedTuple):
    port: int
    """Of its pages."""

    smtp_port: int
    """Where it takes mails."""

    mail_directory: str
    """Folder of the mails."""

    mail_secret: str
    """The first part of each page's path."""

    host: str = "127.0.0.1"
    """Address to listen on."""
