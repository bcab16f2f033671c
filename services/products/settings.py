"""What the products service is told by its environment: nothing that other services are not."""

from chassis import settings


class Settings(settings.Settings):
    """Its own class, so that several services can live in one process, each with its values."""
