"""Settings of the orders service."""

from chassis.base import settings
from contracts.currencies import Currency


class Settings(settings.Settings):
    currency: Currency = "EUR"
    """ISO 4217 code of the shop's prices, counted in hundredths; a product priced in another currency cannot be ordered."""
