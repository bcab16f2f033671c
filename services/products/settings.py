"""What the products service is told by its environment."""

from pydantic import Field

from chassis.base import settings


class Settings(settings.Settings):
    hold_seconds: float = Field(default=1_800, gt=0)
    """How long pieces are held for an order that says nothing more. Shorter than a payment may take, and orders that are
    paid find their pieces gone; much longer, and forgotten orders keep them from others."""

    search_directory: str = ""
    """Where the search index lies if the database has no text search; shared by the processes of a machine. Derived data:
    deleted, it is built again. Empty: `souk-search` in the system's folder for temporary files."""
