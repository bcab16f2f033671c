"""One upstream's targets."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from services.gateway.balancing.algorithms import ALGORITHMS, Algorithm, Make, RoundRobin
from services.gateway.balancing.hashing import key_of
from services.gateway.balancing.health import Failure
from services.gateway.balancing.nodes import Node
from services.gateway.balancing.resources import Resources
from services.gateway.config.schema import Service, Target, Upstream
from services.gateway.discovery.names import Resolution
from services.gateway.exchange.exchange import Exchange

DEFAULT_TARGET_PORT = 8000
"""Kong's."""

FIRST_ADDRESS_SECONDS = 3.0
"""A request's wait for the first resolution."""


@dataclass(frozen=True, slots=True)
class Named:
    """A target and its name's addresses."""

    target: str
    host: str
    port: int
    weight: int
    resolution: Resolution


class Peers:
    def __init__(self, upstream: Upstream, targets: Sequence[Target], protocol: str, resources: Resources) -> None:
        self.upstream = upstream
        self._protocol, self._resources = protocol, resources
        self.targets = targets
        self._named: list[Named] = []
        self._turn = itertools.count()
        self._seen: tuple[int, ...] | None = None
        self._nodes: list[Node] = []
        self._algorithm: Algorithm | None = None
        self._health: tuple[bool, ...] = ()
        self._is_hashed = upstream.algorithm == "consistent-hashing" and upstream.hash_on != "none"
        nothing_to_hash = upstream.algorithm == "consistent-hashing" and not self._is_hashed
        self._make: Make = RoundRobin if nothing_to_hash else ALGORITHMS[upstream.algorithm]

    def start(self) -> None:
        """Call in the loop."""
        for target in self.targets:
            host, port = address_of(target.target)
            self._named.append(Named(target.target, host, port, target.weight, self._resources.names.watch(host)))

    @property
    def nodes(self) -> list[Node]:
        """Including unavailable ones."""
        versions = tuple(named.resolution.version for named in self._named)
        if versions != self._seen:
            self._seen, self._algorithm = versions, None
            self._nodes = self._build_nodes()
        return self._nodes

    @property
    def is_resolved(self) -> bool:
        return any(named.resolution.addresses for named in self._named)

    async def choose(self, exchange: Exchange, tried: Collection[Node]) -> Node | None:
        """None when no node is available."""
        for named in self._named:
            if named.resolution.version == 0:
                await named.resolution.first(FIRST_ADDRESS_SECONDS)
        algorithm = self._current()
        if algorithm is None:
            return None
        return algorithm.choose(tried, key_of(exchange, self.upstream) if self._is_hashed else None)

    def is_available(self) -> bool:
        return self._current() is not None

    def _current(self) -> Algorithm | None:
        nodes = self.nodes
        health = tuple(node.health.is_healthy for node in nodes)
        if self._algorithm is None or health != self._health:
            self._health = health
            available = [node for node in nodes if node.weight and node.health.is_healthy]
            self._algorithm = self._make(available, self._turn) if self._is_enough(available) else None
        return self._algorithm

    def responded(self, node: Node, status: int) -> None:
        """For real requests, not probes."""
        passive = self.upstream.healthchecks.passive
        if status in passive.healthy.http_statuses:
            node.health.succeeded(passive.healthy.successes)
        elif status in passive.unhealthy.http_statuses:
            node.health.failed("http_failures", passive.unhealthy)

    def failed(self, node: Node, failure: Failure) -> None:
        node.health.failed(failure, self.upstream.healthchecks.passive.unhealthy)

    def _is_enough(self, available: Sequence[Node]) -> bool:
        weight = sum(node.weight for node in available)
        whole = sum(node.weight for node in self._nodes)
        return weight > 0 and weight * 100 >= self.upstream.healthchecks.threshold * whole

    def _build_nodes(self) -> list[Node]:
        previous = {(node.target, node.address): node for node in self._nodes}
        made = []
        for named in self._named:
            for address in named.resolution.addresses:
                port = address.port or named.port
                pool = self._resources.pools.of(self._protocol, address.ip, port)
                node = Node(
                    named.target,
                    named.host,
                    pool,
                    address.weight if address.weight is not None else named.weight,
                    self._resources.health.of(self.upstream.name, f"{named.host} {address.ip}:{port}"),
                )
                before = previous.get((node.target, node.address))
                node.active = before.active if before else 0
                made.append(node)
        return made


def single_target(service: Service) -> tuple[Upstream, list[Target]]:
    """For a host that names no upstream."""
    host = f"[{service.host}]" if ":" in service.host else service.host
    return Upstream.model_construct(name=f"{service.host}:{service.port}"), [Target(target=f"{host}:{service.port}")]


def address_of(target: str) -> tuple[str, int]:
    if target.endswith("]"):
        return target.strip("[]"), DEFAULT_TARGET_PORT
    host, separator, port = target.rpartition(":")
    return (host.strip("[]"), int(port)) if separator else (port, DEFAULT_TARGET_PORT)
