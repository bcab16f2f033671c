"""A configuration ready to run."""

from collections.abc import Iterable

from services.gateway.balancing.peers import Peers, address_of, single_target
from services.gateway.balancing.probes import Probes
from services.gateway.balancing.resources import Resources
from services.gateway.config.configuration import Configuration
from services.gateway.config.schema import Service
from services.gateway.exchange.routing import Router
from services.gateway.plugins.base import Plugin
from services.gateway.plugins.chains import Chains
from services.gateway.proxy.forward import Backend


class Edge:
    """Immutable. Call `start` and `stop` in the loop."""

    def __init__(self, configuration: Configuration) -> None:
        """Raises InvalidConfiguration."""
        self.configuration = configuration
        self.router = Router(configuration.routes.values(), configuration.services)
        self.chains = Chains(configuration)
        self._peers: dict[tuple[str, str], Peers] = {}
        self.backends: dict[str, Backend] = {}
        self._probes: list[Probes] = []

    def start(self, resources: Resources) -> None:
        """Drops what only the previous one needed."""
        for service in self.configuration.services.values():
            self.backends[service.id] = self._backend(service, resources)
        for upstream in self.configuration.upstreams.values():
            self._peers_of(upstream.id, "http", resources)
        for peers in self._peers.values():
            peers.start()
        for upstream in self.configuration.upstreams.values():
            if upstream.healthchecks.active.is_on:
                self._probes.append(Probes(self.peers(upstream.id), resources.pools))
        for probes in self._probes:
            probes.start()
        self._retain(resources)

    def stop(self) -> None:
        for probes in self._probes:
            probes.stop()

    @property
    def plugins(self) -> Iterable[Plugin]:
        return self.chains.plugins

    def peers(self, upstream: str) -> Peers:
        return next(peers for (id_, _), peers in self._peers.items() if id_ == upstream)

    def _retain(self, resources: Resources) -> None:
        everywhere = self._peers.values()
        resources.names.retain(address_of(target.target)[0] for peers in everywhere for target in peers.targets)
        resources.pools.retain(node.pool for peers in everywhere for node in peers.nodes)
        resources.health.retain([peers.upstream.name for peers in everywhere])

    def _backend(self, service: Service, resources: Resources) -> Backend:
        protocol = service.protocol + ("!" if service.tls_verify else "")
        id_ = self.configuration.find("upstreams", service.host)
        if id_ is not None:
            return Backend(service, self._peers_of(id_, protocol, resources), is_upstream=True)
        key = f"{service.host}:{service.port}", protocol
        if key not in self._peers:
            self._peers[key] = Peers(*single_target(service), protocol, resources)
        return Backend(service, self._peers[key], is_upstream=False)

    def _peers_of(self, id_: str, protocol: str, resources: Resources) -> Peers:
        """Shared, so that services balance together."""
        if protocol == "http":
            protocol = next((other for upstream, other in self._peers if upstream == id_), protocol)
        if (id_, protocol) not in self._peers:
            targets = [target for target in self.configuration.targets.values() if target.upstream == id_]
            upstream = self.configuration.upstreams[id_]
            self._peers[id_, protocol] = Peers(upstream, targets, protocol, resources)
        return self._peers[id_, protocol]
