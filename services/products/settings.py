"""What the products service is told by its environment."""

from pydantic import Field

from chassis import settings


class Settings(settings.Settings):
    hold_seconds: float = Field(default=1_800, gt=0)
    """How long pieces are held for an order that says nothing more. Shorter than a payment may take, and orders that are
    paid find their pieces gone; much longer, and forgotten orders keep them from others."""
