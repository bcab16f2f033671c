"""Where a neighbour is. Static by settings for now: one base URL per service name."""

from chassis.problems import Unavailable
from chassis.settings import Settings


def locate(service: str, settings: Settings) -> str:
    """Base URL of `service`, without a trailing slash. Raises Unavailable when nobody knows it."""
    try:
        return settings.services[service].rstrip("/")
    except KeyError:
        raise Unavailable(f"The {service} service has no known address.") from None
