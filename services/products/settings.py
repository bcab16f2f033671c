"""Settings of the products service."""

from pydantic import Field

from chassis.base import settings


class Settings(settings.Settings):
    hold_seconds: float = Field(default=1_800, gt=0)
    """How long an order holds units without another command. Too short, paid orders lose their units; too long, abandoned
    orders keep them."""

    cache_url: str = ""
    """Redis for cached responses, which may evict them. Empty: `redis_url`."""

    search_directory: str = ""
    """The folder of the search index, shared by the processes of a machine. Derived data: deleted, it is built again.
    Empty: `souk-search-UID` in the system's temporary folder."""
