"""A configuration made ready to run: what happens to an exchange, from its route to the answer's last header."""

import inspect
from collections.abc import Iterable

from services.gateway.balancing.peers import Peers, address_of, alone
from services.gateway.balancing.probes import Probes
from services.gateway.balancing.resources import Resources
from services.gateway.config.configuration import Configuration
from services.gateway.config.schema import Service
from services.gateway.exchange import responses
from services.gateway.exchange.bodies import BodyTooLarge
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Answer
from services.gateway.exchange.routing import Match, Router
from services.gateway.plugins.base import Plugin, Unusable
from services.gateway.plugins.chains import Chains
from services.gateway.proxy.forward import Backend, forward
from services.gateway.proxy.headers import VIA
from services.gateway.proxy.refusals import refusal
from services.gateway.wire.head import BAD_REQUEST, TOO_SLOW, BadBody, ClientGone, ClientTooSlow


class Edge:
    """Never changes: another configuration is another Edge. `start` and `stop` are for the loop that serves it."""

    def __init__(self, configuration: Configuration) -> None:
        """Raises InvalidConfiguration."""
        self.configuration = configuration
        self.router = Router(configuration.routes.values(), configuration.services)
        self._chains = Chains(configuration)
        self._peers: dict[tuple[str, str], Peers] = {}
        self._backends: dict[str, Backend] = {}
        self._probes: list[Probes] = []

    # --- its life

    def start(self, resources: Resources) -> None:
        """Take over what outlives a configuration, and forget what only the one before needed."""
        for service in self.configuration.services.values():
            self._backends[service.id] = self._backend(service, resources)
        for upstream in self.configuration.upstreams.values():
            self._peers_of(upstream.id, "http", resources)
        for peers in self._peers.values():
            peers.start()
        for upstream in self.configuration.upstreams.values():
            if upstream.healthchecks.active.is_on:
                self._probes.append(Probes(self.peers(upstream.id)))
        for probes in self._probes:
            probes.start()
        self._retain(resources)

    def stop(self) -> None:
        for probes in self._probes:
            probes.stop()

    @property
    def plugins(self) -> Iterable[Plugin]:
        return self._chains.plugins

    def peers(self, upstream: str) -> Peers:
        """Of the upstream with this id."""
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
            self._peers[key] = Peers(*alone(service), protocol, resources)
        return Backend(service, self._peers[key], is_upstream=False)

    def _peers_of(self, id_: str, protocol: str, resources: Resources) -> Peers:
        """One for all services of the upstream, so that their requests take turns together."""
        if protocol == "http":
            protocol = next((known for upstream, known in self._peers if upstream == id_), protocol)
        if (id_, protocol) not in self._peers:
            targets = [target for target in self.configuration.targets.values() if target.upstream == id_]
            upstream = self.configuration.upstreams[id_]
            self._peers[id_, protocol] = Peers(upstream, targets, protocol, resources)
        return self._peers[id_, protocol]

    # --- an exchange

    async def handle(self, exchange: Exchange) -> Answer:
        """Raises ClientGone."""
        fault = refusal(exchange)
        if fault is not None:
            return _stamped(exchange, responses.error(exchange, fault))
        exchange.match = self.router.match(exchange.method, exchange.path, exchange.host, exchange.headers.all)
        exchange.chain = self._chains.choose(exchange.match, None)
        if exchange.match is None:
            answer = responses.error(exchange, responses.NO_ROUTE)
        else:
            answer = await self._answered(exchange, exchange.match)
        try:
            await _filter(exchange, answer)
        except Unusable as unusable:
            exchange.from_upstream = False
            answer = responses.error(exchange, unusable.kind)
            await _filter(exchange, answer)
        return _stamped(exchange, answer)

    def log(self, exchange: Exchange, answer: Answer) -> None:
        """Once the answer has left."""
        for plugin in exchange.chain:
            if plugin is not None:
                plugin.log(exchange, answer)

    async def _answered(self, exchange: Exchange, match: Match) -> Answer:
        if exchange.scheme not in match.route.protocols:
            return _elsewhere(exchange, match)
        try:
            return await self._access(exchange, match) or await self._upstream(exchange, match)
        except BodyTooLarge:
            return responses.error(exchange, (413, "Request size limit exceeded"))
        except BadBody:
            return responses.error(exchange, BAD_REQUEST)
        except ClientTooSlow:
            return responses.error(exchange, TOO_SLOW)
        except ClientGone:
            return responses.error(exchange, BAD_REQUEST)

    async def _access(self, exchange: Exchange, match: Match) -> Answer | None:
        consumer = None
        for place in range(len(exchange.chain)):
            plugin = exchange.chain[place]
            if plugin is None:
                continue
            answer = plugin.access(exchange)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is not None:
                return answer
            if exchange.consumer is not consumer:
                consumer = exchange.consumer
                exchange.chain = self._chains.choose(match, consumer)
        return None

    async def _upstream(self, exchange: Exchange, match: Match) -> Answer:
        if match.service is None:
            return responses.error(exchange, responses.NO_SERVICE)
        if exchange.head.wants_upgrade and (exchange.header("upgrade") or "").lower() == "websocket":
            return responses.error(exchange, responses.NO_WEBSOCKET)
        return await forward(exchange, self._backends[match.service.id])


async def _filter(exchange: Exchange, answer: Answer) -> None:
    """Raises Unusable, but not for an answer of ours."""
    for name, value in exchange.answer_headers:
        answer.headers.add(name, value)
    for plugin in exchange.chain:
        if plugin is not None:
            filtering = plugin.header_filter(exchange, answer)
            if filtering is not None:
                await filtering


def _elsewhere(exchange: Exchange, match: Match) -> Answer:
    """The route wants https."""
    status = match.route.https_redirect_status_code
    if status == 426:
        upgrade = {"Connection": "Upgrade", "Upgrade": "TLS/1.2, HTTP/1.1"}
        return responses.error(exchange, (426, "Please use HTTPS protocol"), upgrade)
    query = f"?{exchange.query}" if exchange.query else ""
    location = f"https://{exchange.hostname}{exchange.raw_path}{query}"
    return responses.error(exchange, (status, "Please use HTTPS protocol"), {"Location": location})


def _stamped(exchange: Exchange, answer: Answer) -> Answer:
    """Kong's own headers: how long it took, and which request this was."""
    fields = answer.headers
    if exchange.tried_at is not None and (exchange.from_upstream or answer.status in (502, 504)):
        upstream_seconds = exchange.upstream_seconds
        if not exchange.from_upstream:
            fields.add("Via", VIA)
        if upstream_seconds is None:
            upstream_seconds = exchange.seconds(since=exchange.tried_at)
        fields.add("X-Kong-Upstream-Latency", str(round(upstream_seconds * 1000)))
        fields.add("X-Kong-Proxy-Latency", str(round((exchange.tried_at - exchange.started) * 1000)))
    else:
        fields.add("X-Kong-Response-Latency", str(round(exchange.seconds() * 1000)))
    fields.set("X-Kong-Request-Id", exchange.request_id)
    return answer
