"""The gateway's Flask application. Kong's router decides about every request, so Flask's has no rules.

Requests come from `wire`, not through WSGI, which would hide from us what they looked like and hold a thread for each. Every one
is an ordinary request of this application all the same: in its context, under its error handlers.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from flask import Flask, Request, request
from structlog import get_logger

from services.gateway.balancing.resources import Resources
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Answer
from services.gateway.proxy.edge import Edge
from services.gateway.proxy.respond import respond
from services.gateway.wire.client import ClientConnection
from services.gateway.wire.head import Head
from services.gateway.wire.stream import Stream

log = get_logger(__name__)


class Gateway(Flask):
    """Runs one Edge at a time. Another one serves the requests that come after; those in hand end as they began."""

    def __init__(self, edge: Edge, trusted_ips: Sequence[str] = (), real_ip_header: str = "X-Real-IP") -> None:
        super().__init__("gateway", static_folder=None)
        self.edge = edge
        self.total_requests = 0
        self._real_ip_header = real_ip_header
        networks = [ipaddress.ip_network(network, strict=False) for network in trusted_ips]
        self._is_trusted = lru_cache(1024)(lambda ip: any(ipaddress.ip_address(ip) in network for network in networks))

    def create_url_adapter(self, request: Request | None) -> None:
        """None: there is nothing for Flask to match, and `//` or a strange Host is not Flask's to answer."""

    def become(self, edge: Edge, resources: Resources) -> None:
        """In the loop."""
        before = self.edge
        edge.start(resources)
        self.edge = edge
        if before is not edge:
            before.stop()

    async def serve(self, head: Head, body: Stream | None, connection: ClientConnection) -> None:
        """One request of `connection`, from its head to its log line."""
        self.total_requests += 1
        edge, exchange = self.edge, self._exchange(head, body, connection)
        with self.request_context(exchange.environ()):
            answer = await self._answer(edge, exchange)
            try:
                await respond(exchange, answer, connection, body)
            finally:
                exchange.finished = exchange.seconds()
                exchange.close()
                self._log(edge, exchange, answer)

    async def _answer(self, edge: Edge, exchange: Exchange) -> Answer:
        try:
            return await edge.handle(exchange)
        except Exception as failure:
            return self.handle_user_exception(failure)

    def _log(self, edge: Edge, exchange: Exchange, answer: Answer) -> None:
        try:
            edge.log(exchange, answer)
        except Exception as failure:  # the answer has left: nobody but us is to suffer
            log.exception("exchange not logged", exc_info=failure)

    def handle_user_exception(self, e: Exception) -> Answer:  # type: ignore[override]  # an answer goes to wire, not to WSGI
        """A fault of ours, whatever it is, is told in Kong's words."""
        log.exception("unhandled error", exc_info=e)
        exchange: Exchange = request.environ["gateway.exchange"]
        answer = responses.error(exchange, responses.UNEXPECTED)
        answer.headers.add("X-Kong-Request-Id", exchange.request_id)
        return answer

    def _exchange(self, head: Head, body: Stream | None, connection: ClientConnection) -> Exchange:
        peer = head.peer[0]
        is_trusted = self._is_trusted(peer) if peer else False
        client_ip = peer
        if is_trusted:
            said = next((value for name, value in head.headers if name.lower() == self._real_ip_header.lower()), "")
            client_ip = _ip(said.split(",")[-1].strip()) or peer
        invite = None
        if body is not None and any(name.lower() == "expect" for name, _ in head.headers):

            def invite() -> None:
                if not body.received:
                    connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        return Exchange(head, body, client_ip, is_trusted, invite)


def _ip(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
