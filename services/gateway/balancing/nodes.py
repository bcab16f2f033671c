"""One address of one target, with its connections and its health."""

from dataclasses import dataclass, field

from services.gateway.balancing.health import Health
from services.gateway.wire.pool import Pool


@dataclass(slots=True, eq=False)
class Node:
    target: str
    """The target as the file has it."""
    host: str
    """Its name, for the Host header and TLS."""
    pool: Pool
    weight: int
    health: Health
    active: int = field(default=0)
    """Requests in hand."""

    @property
    def address(self) -> str:
        return f"{self.pool.host}:{self.pool.port}"
