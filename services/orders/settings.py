"""What the orders service is told by its environment."""

from chassis.base import settings


class Settings(settings.Settings):
    currency: str = "EUR"
    """ISO 4217 code in which this shop sells; a product priced in another cannot be ordered."""
