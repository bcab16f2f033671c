"""The operators' settings. They are reached at SOUK_HOST and SOUK_PORT."""

from pydantic import Field

from chassis.base import settings


class Settings(settings.Settings):
    metrics_url: str = ""
    """http(s)://host:port of the Prometheus that scrapes the programs and RabbitMQ's queues."""

    interval_seconds: float = Field(default=10.0, gt=0, le=3_600)
    """Between two looks at the resources. They are looked at once when their spec changes, too."""
