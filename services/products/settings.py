"""Settings of the products service."""

from pydantic import Field

from chassis.base import settings


class Settings(settings.Settings):
    hold_seconds: float = Field(default=1_800, gt=0)
    """How long units are held for an order that sends nothing more. Shorter than a payment may take, paid orders find
    their units gone; much longer, abandoned orders keep them from others."""

    search_directory: str = ""
    """The folder of the search index, shared by the processes of a machine. Derived data: deleted, it is built again.
    Empty: `souk-search-UID` in the system's folder for temporary files."""
