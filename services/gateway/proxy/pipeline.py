"""An exchange, from route to log."""

from services.gateway.exchange import responses
from services.gateway.exchange.bodies import BodyTooLarge
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.exchange.routing import Match
from services.gateway.plugins.base import Unusable
from services.gateway.plugins.chains import Chain
from services.gateway.proxy.edge import Edge
from services.gateway.proxy.forward import forward
from services.gateway.proxy.headers import VIA
from services.gateway.proxy.refusals import refusal
from services.gateway.wire.head import BAD_REQUEST, TOO_SLOW, BadBody, ClientGone, ClientTooSlow


class Pipeline:
    """One exchange under one Edge."""

    __slots__ = ("_chain", "_edge", "_exchange")

    def __init__(self, edge: Edge, exchange: Exchange) -> None:
        self._edge, self._exchange = edge, exchange
        self._chain: Chain = ()

    async def handle(self) -> Response:
        """Raises ClientGone."""
        exchange = self._exchange
        refused = refusal(exchange)
        if refused is None:
            exchange.match = self._edge.router.match(
                exchange.method, exchange.path, exchange.host, exchange.headers.all
            )
        self._chain = self._edge.chains.choose(exchange.match, None)
        if refused is not None:
            response = responses.error(exchange, refused)
        elif exchange.match is None:
            response = responses.error(exchange, responses.NO_ROUTE)
        else:
            response = await self._respond(exchange.match)
        try:
            await self._filter(response)
        except Unusable as unusable:
            exchange.from_upstream = False
            response = responses.error(exchange, unusable.kind)
            await self._filter(response)
        return _stamped(exchange, response)

    def log(self, response: Response) -> None:
        for plugin in self._chain:
            if plugin is not None:
                plugin.log(self._exchange, response)

    async def _respond(self, match: Match) -> Response:
        exchange = self._exchange
        if exchange.scheme not in match.route.protocols:
            return _require_https(exchange, match)
        try:
            return await self._access(match) or await self._upstream(match)
        except BodyTooLarge:
            return responses.error(exchange, (413, "Request size limit exceeded"))
        except BadBody:
            return responses.error(exchange, BAD_REQUEST)
        except ClientTooSlow:
            return responses.error(exchange, TOO_SLOW)
        except ClientGone:
            return responses.error(exchange, BAD_REQUEST)

    async def _access(self, match: Match) -> Response | None:
        exchange, consumer = self._exchange, None
        for place in range(len(self._chain)):
            plugin = self._chain[place]
            if plugin is None:
                continue
            response = plugin.access(exchange)
            if response is not None and not isinstance(response, Response):
                response = await response
            if response is not None:
                return response
            if exchange.consumer is not consumer:
                consumer = exchange.consumer
                self._chain = self._edge.chains.choose(match, consumer)
        return None

    async def _upstream(self, match: Match) -> Response:
        exchange = self._exchange
        if match.service is None:
            return responses.error(exchange, responses.NO_SERVICE)
        if exchange.head.wants_upgrade and (exchange.header("upgrade") or "").lower() == "websocket":
            return responses.error(exchange, responses.NO_WEBSOCKET)
        return await forward(exchange, self._edge.backends[match.service.id])

    async def _filter(self, response: Response) -> None:
        """Raises Unusable, never for our own response."""
        for name, value in self._exchange.response_headers:
            response.headers.add(name, value)
        for plugin in self._chain:
            if plugin is not None:
                filtering = plugin.header_filter(self._exchange, response)
                if filtering is not None:
                    await filtering


def _require_https(exchange: Exchange, match: Match) -> Response:
    status = match.route.https_redirect_status_code
    if status == 426:
        upgrade = {"Connection": "Upgrade", "Upgrade": "TLS/1.2, HTTP/1.1"}
        return responses.error(exchange, (426, "Please use HTTPS protocol"), upgrade)
    query = f"?{exchange.query}" if exchange.query else ""
    location = f"https://{exchange.hostname}{exchange.raw_path}{query}"
    return responses.page(status, {"Location": location})


def _stamped(exchange: Exchange, response: Response) -> Response:
    fields = response.headers
    if "Server" not in fields:
        fields.add("Server", responses.SERVER)
    if exchange.tried_at is not None and (exchange.from_upstream or response.status in (502, 504)):
        upstream_seconds = exchange.upstream_seconds
        fields.set("Via", ", ".join([*fields.all("Via"), VIA]))
        if upstream_seconds is None:
            upstream_seconds = exchange.seconds(since=exchange.tried_at)
        fields.add("X-Kong-Upstream-Latency", str(round(upstream_seconds * 1000)))
        fields.add("X-Kong-Proxy-Latency", str(round((exchange.tried_at - exchange.started) * 1000)))
    else:
        fields.add("X-Kong-Response-Latency", str(round(exchange.seconds() * 1000)))
    fields.set("X-Kong-Request-Id", exchange.request_id)
    return response
