"""What outlives a configuration."""

from dataclasses import dataclass

from services.gateway.balancing.health import HealthRegistry
from services.gateway.discovery.names import Names
from services.gateway.wire.pools import Pools


@dataclass(frozen=True, slots=True)
class Resources:
    pools: Pools
    health: HealthRegistry
    names: Names
