"""The gateway's Flask application, without rules: Kong's router decides.

Requests come from `wire`, not WSGI, which hides their original form and holds a thread for each.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from flask import Flask, Request, request
from structlog import get_logger

from chassis.base import tracing
from services.gateway.balancing.resources import Resources
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.proxy.edge import Edge
from services.gateway.proxy.pipeline import Pipeline
from services.gateway.proxy.respond import respond
from services.gateway.wire.client import ClientConnection
from services.gateway.wire.head import Head
from services.gateway.wire.stream import Stream

log = get_logger(__name__)


class Gateway(Flask):
    """Runs one Edge at a time; requests in progress finish under the old one."""

    def __init__(self, edge: Edge, trusted_ips: Sequence[str] = (), real_ip_header: str = "X-Real-IP") -> None:
        super().__init__("gateway", static_folder=None)
        self.edge = edge
        self.total_requests = 0
        self._real_ip_header = real_ip_header
        networks = [ipaddress.ip_network(network, strict=False) for network in trusted_ips]
        self._is_trusted = lru_cache(1024)(lambda ip: any(ipaddress.ip_address(ip) in network for network in networks))

    def create_url_adapter(self, request: Request | None) -> None:
        """Flask must not reject `//` or an unusual Host."""

    def switch_to(self, edge: Edge, resources: Resources) -> None:
        """Call in the loop."""
        before = self.edge
        edge.start(resources)
        self.edge = edge
        if before is not edge:
            before.stop()

    async def serve(self, head: Head, body: Stream | None, connection: ClientConnection) -> None:
        self.total_requests += 1
        exchange = self._exchange(head, body, connection)
        pipeline = Pipeline(self.edge, exchange)
        with self.request_context(exchange.environ()):
            response: Response | None = None
            try:
                response = await self._handle(pipeline)
                await respond(exchange, response, connection, body)
            finally:
                # Cancelled, as its client has gone.
                response = response or responses.error(exchange, responses.CLIENT_GONE)
                exchange.finished = exchange.seconds()
                exchange.close()
                if exchange.span is not None:
                    route = exchange.match.route if exchange.match is not None else None
                    tracing.end_of_request(
                        exchange.span, exchange.method, route.name or route.id if route else "none", response.status
                    )
                self._log(pipeline, response)

    async def _handle(self, pipeline: Pipeline) -> Response:
        try:
            return await pipeline.handle()
        except Exception as failure:
            return self.handle_user_exception(failure)

    def _log(self, pipeline: Pipeline, response: Response) -> None:
        try:
            pipeline.log(response)
        except Exception as failure:  # the client has its response
            log.exception(
                "exchange not logged", trace_id=request.environ["gateway.exchange"].request_id, exc_info=failure
            )

    def handle_user_exception(self, e: Exception) -> Response:  # type: ignore[override]  # for wire, not for WSGI
        exchange: Exchange = request.environ["gateway.exchange"]
        log.exception("unhandled error", trace_id=exchange.request_id, exc_info=e)
        response = responses.error(exchange, responses.UNEXPECTED)
        response.headers.add("X-Kong-Request-Id", exchange.request_id)
        return response

    def _exchange(self, head: Head, body: Stream | None, connection: ClientConnection) -> Exchange:
        peer = head.peer[0]
        is_trusted = self._is_trusted(peer) if peer else False
        client_ip = peer
        if is_trusted:
            sent = next((value for name, value in head.headers if name.lower() == self._real_ip_header.lower()), "")
            client_ip = _ip(sent.split(",")[-1].strip()) or peer
        send_continue = None
        if body is not None and any(name.lower() == "expect" for name, _ in head.headers):

            def send_continue() -> None:
                if not body.received:
                    connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        return Exchange(head, body, client_ip, is_trusted, send_continue)


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
