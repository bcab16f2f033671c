"""Settings of the orders service."""

from chassis.base import settings


class Settings(settings.Settings):
    currency: str = "EUR"
    """ISO 4217 code of the shop's prices; a product priced in another currency cannot be ordered."""
