"""Settings of the orders service."""

from pydantic import Field

from chassis.base import settings
from contracts.currencies import Currency


class Settings(settings.Settings):
    currency: Currency = "EUR"
    """ISO 4217 code of the shop's prices, counted in hundredths; a product priced in another currency cannot be ordered."""

    reply_grace_seconds: float = Field(default=0, ge=0)
    """Added to every deadline for a reply. With a long one, an order that lost a message stays where it is: the crash tests
    want to see that."""
