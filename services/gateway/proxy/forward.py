"""Sends an exchange to its service."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from structlog import get_logger

from services.gateway.balancing.nodes import Node
from services.gateway.balancing.peers import Peers
from services.gateway.config.schema import Service
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange, Try
from services.gateway.exchange.responses import Response
from services.gateway.proxy import headers, uris
from services.gateway.wire.fields import Fields
from services.gateway.wire.upstream import BadResponse, UpstreamConnection, UpstreamResponse

log = get_logger(__name__)

NOT_IDEMPOTENT = frozenset({"POST", "PATCH", "LOCK"})
"""Not repeated once sent."""

NO_TRY_AFTER_SECONDS = 3.0
"""A caller who has waited so long is not served by another try. In nginx: `proxy_next_upstream_timeout`."""

SMALL_RESPONSE_BYTES = 64 * 1024
"""Below this, read whole to free the connection at once."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A service and its targets."""

    service: Service
    peers: Peers
    is_upstream: bool
    """Whether the host names an upstream."""


class Failed(Exception):
    """`kind`: the error if this try was the last."""

    def __init__(self, reason: BaseException, was_sent: bool) -> None:
        super().__init__(repr(reason))
        self.is_timeout = isinstance(reason, TimeoutError)
        self.kind = responses.TIMING_OUT if self.is_timeout else responses.INVALID_RESPONSE
        self.was_sent = was_sent


class Download:
    """An upstream's body on its way to the client."""

    def __init__(
        self, response: UpstreamResponse, connection: UpstreamConnection, node: Node, read_timeout: float
    ) -> None:
        self._response, self._connection, self._node = response, connection, node
        self._read_timeout = read_timeout

    async def read(self) -> bytes:
        return await self._response.body.read(self._read_timeout)

    def close(self) -> None:
        """The pool closes a connection with an unread response."""
        self._node.active -= 1
        self._node.pool.release(self._connection)


async def forward(exchange: Exchange, backend: Backend) -> Response:
    """Raises what reading the client's body raises."""
    match, service = exchange.match, backend.service
    assert match is not None
    if match.route.request_buffering:
        await exchange.body()
    uri = request_target(exchange, service)
    exchange.upstream_uri = uri
    exchange.tried_at = time.perf_counter()
    failure, tried = responses.NO_PEER, list[Node]()
    for _ in range(service.retries + 1):
        node = await backend.peers.choose(exchange, tried)
        if node is None:
            if not backend.is_upstream and not backend.peers.is_resolved:
                failure = responses.NAME_RESOLUTION_FAILED
            break
        try:
            return await _try(exchange, backend, node, uri)
        except Failed as failed:
            log.warning(
                "try failed",
                service=service.name,
                target=node.address,
                error=str(failed),
                trace_id=exchange.request_id,
            )
            failure = failed.kind
            exchange.tries[-1].failure = failure[0]
            exchange.upstream_statuses.append(str(failure[0]))
            if failed.was_sent and (exchange.method in NOT_IDEMPOTENT or exchange.stream() is not None):
                break
            if len(exchange.tries) <= service.retries:
                # Like Kong, count only when choosing the next target.
                backend.peers.failed(node, "timeouts" if failed.is_timeout else "tcp_failures")
            tried.append(node)
            if time.perf_counter() - exchange.tried_at > NO_TRY_AFTER_SECONDS:
                break
    return responses.error(exchange, failure)


def request_target(exchange: Exchange, service: Service) -> str:
    match = exchange.match
    assert match is not None
    if match.route.strip_path and match.matched not in ("", "/"):
        # Decoded, as Kong has it.
        exchange.set_header("X-Forwarded-Prefix", match.matched.encode(errors="surrogateescape").decode("latin-1"))
    elif not exchange.is_trusted:
        exchange.set_header("X-Forwarded-Prefix", None)
    path = exchange.upstream_path
    if path is None:
        path = uris.join(service.path or "", exchange.path, match.matched, match.route.strip_path)
    return uris.escape(path) + uris.query_suffix(exchange.query, exchange.has_query)


async def _try(exchange: Exchange, backend: Backend, node: Node, uri: str) -> Response:
    service, pool = backend.service, node.pool
    exchange.tries.append(Try(pool.host, pool.port, time.time()))
    began = time.perf_counter()
    try:
        connection = await pool.acquire(
            service.connect_timeout / 1000, service.read_timeout / 1000, _server_name(backend, node)
        )
    except OSError as error:
        raise Failed(error, was_sent=False) from error
    sent_at = time.perf_counter()
    exchange.tries[-1].seconds = sent_at - began
    node.active += 1
    try:
        response = await _send(exchange, backend, node, connection, uri)
        exchange.upstream_seconds = time.perf_counter() - sent_at
        body = await _body(response, connection, node, service.read_timeout / 1000)
    except (OSError, BadResponse) as error:
        node.active -= 1
        pool.drop(connection)
        raise Failed(error, was_sent=True) from error
    except BaseException:
        node.active -= 1
        pool.drop(connection)
        raise
    exchange.from_upstream = True
    exchange.upstream_statuses.append(str(response.status))
    backend.peers.responded(node, response.status)
    return Response(response.status, headers.to_client(response.headers), body, response.reason)


async def _send(
    exchange: Exchange, backend: Backend, node: Node, connection: UpstreamConnection, uri: str
) -> UpstreamResponse:
    method = exchange.upstream_method or exchange.method
    fields = headers.to_upstream(exchange, _host(exchange, backend, node))
    body = await _framed_body(exchange, fields)
    await connection.send(method, fields.head(f"{method} {uri} HTTP/1.1"), body, backend.service.write_timeout / 1000)
    return await connection.response(backend.service.read_timeout / 1000)


async def _framed_body(exchange: Exchange, fields: Fields) -> bytes | AsyncIterator[bytes] | None:
    """Adds the framing header to `fields`."""
    if headers.names_length(exchange):
        return None
    stream = exchange.stream()
    if stream is not None:
        length = exchange.announced_length
        fields.add(*(("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))))
        return stream
    body = await exchange.body()
    if body is None:
        if exchange.announced_length is not None:
            fields.add("Content-Length", "0")
        return None
    fields.add("Content-Length", str(body.length))
    kept = body.in_memory
    return body.blocks() if kept is None else kept


def _server_name(backend: Backend, node: Node) -> str:
    """As nginx has it: the Host header, without its port."""
    return backend.peers.upstream.host_header or node.host


def _host(exchange: Exchange, backend: Backend, node: Node) -> str:
    assert exchange.match is not None
    if exchange.match.route.preserve_host and exchange.host:
        return exchange.host
    name = backend.peers.upstream.host_header
    port = node.pool.port
    if name is not None:
        return f"{name}:{port}"
    host = f"[{node.host}]" if ":" in node.host else node.host
    return host if port == (80 if backend.service.protocol == "http" else 443) else f"{host}:{port}"


async def _body(
    response: UpstreamResponse, connection: UpstreamConnection, node: Node, read_timeout: float
) -> bytes | Download:
    body = response.body
    is_small = response.length is not None and response.length <= SMALL_RESPONSE_BYTES
    if not body.whole and not is_small:
        return Download(response, connection, node, read_timeout)
    try:
        content = await body.until_whole(read_timeout)
    except (OSError, BadResponse):
        # Pass on the status, and let the body break off.
        return Download(response, connection, node, read_timeout)
    node.active -= 1
    node.pool.release(connection)
    return content
