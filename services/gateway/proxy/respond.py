"""Writes responses, in bounded memory."""

import http

from services.gateway.exchange.bodies import LAST_CHUNK, chunk
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Blocks, Response
from services.gateway.wire.client import ClientConnection
from services.gateway.wire.stream import Stream
from services.gateway.wire.upstream import BadResponse

_REASONS = {status.value: status.phrase for status in http.HTTPStatus}


async def respond(exchange: Exchange, response: Response, connection: ClientConnection, stream: Stream | None) -> None:
    """If the upstream fails, leave it visibly unfinished. Raises ClientGone."""
    head, status, body = exchange.head, response.status, response.body
    has_body = head.method != "HEAD" and status >= 200 and status not in (204, 304)
    is_framed = not has_body or "Content-Length" in response.headers
    if not is_framed and isinstance(body, bytes):
        response.headers.add("Content-Length", str(len(body)))
        is_framed = True
    is_chunked = not is_framed and head.version == "1.1"
    if is_chunked:
        response.headers.add("Transfer-Encoding", "chunked")
    if not is_framed and not is_chunked:
        head.keeps_alive = False
    keeps = connection.decide_keep_alive(head, stream)
    response.headers.add("Connection", "keep-alive" if keeps else "close")
    first = response.headers.head(f"HTTP/1.1 {status} {response.reason or _REASONS.get(status, '')}")
    exchange.sent_bytes = len(first)
    if isinstance(body, bytes):
        connection.write(first + body if has_body else first)
        exchange.sent_bytes += len(body) if has_body else 0
        return
    try:
        await _stream(exchange, first, body if has_body else None, connection, is_chunked)
    finally:
        body.close()


async def _stream(
    exchange: Exchange, first: bytes, body: Blocks | None, connection: ClientConnection, is_chunked: bool
) -> None:
    connection.write(first)
    if body is None:
        return
    try:
        while block := await body.read():
            exchange.sent_bytes += len(block)
            connection.write(chunk(block) if is_chunked else block)
            await connection.drain()
    except (OSError, BadResponse):
        connection.break_off()
        return
    if is_chunked:
        connection.write(LAST_CHUNK)
