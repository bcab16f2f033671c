"""What the gateway is told by its environment, beside what every process is."""

from pathlib import Path

from pydantic import Field

from chassis.settings import Settings


class GatewaySettings(Settings):
    threads: int = Field(default=64, ge=1, le=256)
    """Requests in hand at once. A thread mostly waits for an upstream; too few, and one slow service stalls the others."""

    kong_file: Path
    """The declarative file, already rendered."""

    admin_host: str = "127.0.0.1"
    """Where /status and /metrics are served. Not for the public: the edge routes only the documentation there."""

    admin_port: int = Field(ge=0, le=65535)

    idle_connections: int = Field(default=64, ge=0)
    """Connections kept open to each target while unused. 0 opens one per request, which doubles a request's cost."""
