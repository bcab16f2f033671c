"""The bank's settings."""

from typing import NamedTuple


class Settings(NamedTuple):
    port: int
    """Of the API."""

    sandbox_key: str
    """The bearer key of its only merchant."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    bank_directory: str = ""
    """Folder of its charges. Empty: they are kept in memory."""

    bank_webhook_url: str = ""
    """Where webhooks go. Empty: none are sent."""

    sandbox_webhook_secret: str = ""
    """Signs webhooks."""
