"""A configuration made ready to run: what happens to an exchange, from its route to the answer's last header."""

from collections.abc import Callable
from functools import cache

from services.gateway import answers
from services.gateway.answers import Answer
from services.gateway.balancing import RoundRobin
from services.gateway.chains import Chain, Chains
from services.gateway.configuration import Configuration
from services.gateway.connections import Pool
from services.gateway.exchange import ClientGone, Exchange
from services.gateway.headers import VIA
from services.gateway.proxying import Backend, forward
from services.gateway.requests import refusal
from services.gateway.routing import Match, Router
from services.gateway.schema import Service, Target


class Edge:
    """Never changes: another configuration is another Edge."""

    def __init__(self, configuration: Configuration, idle_connections: int) -> None:
        """Raises InvalidConfiguration."""
        self.configuration = configuration
        self.router = Router(configuration.routes.values(), configuration.services)
        self._chains = Chains(configuration)

        @cache
        def pool_of(host: str, port: int) -> Pool:
            return Pool(host, port, idle_connections)

        self._backends = {
            id_: _backend(service, configuration, pool_of) for id_, service in configuration.services.items()
        }

    def handle(self, exchange: Exchange) -> Answer:
        fault = refusal(exchange)
        if fault is not None:
            return _stamped(exchange, answers.error(exchange, fault))
        exchange.match = self.router.match(exchange.method, exchange.path, exchange.host, exchange.header)
        chain = self._chains.choose(exchange.match, None)
        if exchange.match is None:
            answer = answers.error(exchange, answers.NO_ROUTE)
        else:
            answer = self._answered(exchange, exchange.match, chain)
            chain = self._chains.choose(exchange.match, exchange.consumer)
        for plugin in chain:
            if plugin is not None:
                plugin.header_filter(exchange, answer)
        _stamped(exchange, answer)
        for plugin in chain:
            if plugin is not None:
                plugin.log(exchange, answer)
        return answer

    def _answered(self, exchange: Exchange, match: Match, chain: Chain) -> Answer:
        if exchange.scheme not in match.route.protocols:
            return _elsewhere(exchange, match)
        try:
            return self._access(exchange, match, chain) or self._upstream(exchange, match)
        except ClientGone:
            return answers.error(exchange, answers.BAD_REQUEST)

    def _access(self, exchange: Exchange, match: Match, chain: Chain) -> Answer | None:
        for place in range(len(chain)):
            plugin = chain[place]
            if plugin is None:
                continue
            answer = plugin.access(exchange)
            if answer is not None:
                return answer
            if exchange.consumer is not None:
                chain = self._chains.choose(match, exchange.consumer)
        return None

    def _upstream(self, exchange: Exchange, match: Match) -> Answer:
        if match.service is None:
            return answers.error(exchange, answers.NO_SERVICE)
        return forward(exchange, self._backends[match.service.id])


def _backend(service: Service, configuration: Configuration, pool_of: Callable[[str, int], Pool]) -> Backend:
    """`service.host` is an upstream's name, or else a host."""
    id_ = configuration.find("upstreams", service.host)
    if id_ is None:
        alone = Target(target=f"{service.host}:{service.port}")
        return Backend(service, RoundRobin([alone], pool_of), None)
    targets = [target for target in configuration.targets.values() if target.upstream == id_]
    return Backend(service, RoundRobin(targets, pool_of), configuration.upstreams[id_].host_header)


def _elsewhere(exchange: Exchange, match: Match) -> Answer:
    """The route wants https."""
    status = match.route.https_redirect_status_code
    if status == 426:
        upgrade = {"Connection": "Upgrade", "Upgrade": "TLS/1.2, HTTP/1.1"}
        return answers.error(exchange, (426, "Please use HTTPS protocol"), upgrade)
    query = f"?{exchange.query}" if exchange.query else ""
    location = f"https://{exchange.hostname}{exchange.raw_path}{query}"
    return answers.error(exchange, (status, "Please use HTTPS protocol"), {"Location": location})


def _stamped(exchange: Exchange, answer: Answer) -> Answer:
    """Kong's own headers: how long it took, and which request this was."""
    fields = answer.headers
    if exchange.tried_at is not None and (exchange.from_upstream or answer.status_code in (502, 504)):
        upstream_seconds = exchange.upstream_seconds
        if upstream_seconds is None:
            fields["Via"] = VIA
            upstream_seconds = exchange.seconds(since=exchange.tried_at)
        fields["X-Kong-Upstream-Latency"] = str(round(upstream_seconds * 1000))
        fields["X-Kong-Proxy-Latency"] = str(round((exchange.tried_at - exchange.started) * 1000))
    else:
        fields["X-Kong-Response-Latency"] = str(round(exchange.seconds() * 1000))
    fields["X-Kong-Request-Id"] = exchange.request_id
    return answer
