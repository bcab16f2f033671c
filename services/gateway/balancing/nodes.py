"""One address of a target."""

from dataclasses import dataclass, field

from services.gateway.balancing.health import Health
from services.gateway.wire.pool import Pool


@dataclass(slots=True, eq=False)
class Node:
    target: str
    host: str
    """For the Host header and TLS."""
    pool: Pool
    weight: int
    health: Health
    active: int = field(default=0)
    """Requests in progress."""

    @property
    def address(self) -> str:
        return f"{self.pool.host}:{self.pool.port}"
