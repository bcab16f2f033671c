"""The admin port. Flask composes responses in a few threads; the loop talks to clients, so that a slow one holds no thread."""

import asyncio
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from io import BytesIO
from urllib.parse import unquote

from flask import Flask
from structlog import get_logger
from werkzeug.wrappers import Response as FlaskResponse

from services.gateway.exchange import responses
from services.gateway.exchange.bodies import BodyTooLarge
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import SERVER, Response
from services.gateway.proxy.refusals import refusal
from services.gateway.proxy.respond import respond
from services.gateway.wire.client import ClientConnection, ClientTimeouts
from services.gateway.wire.head import TOO_SLOW, BadBody, ClientTooSlow, Head
from services.gateway.wire.server import HTTPServer, bind
from services.gateway.wire.stream import Stream

log = get_logger(__name__)

MAX_BODY_BYTES = 16 * 2**20
THREADS = 4

MAX_PER_ADDRESS = 16
"""Responses at once. A browser opens six connections."""

BLOCK_BYTES = 64 * 1024
DOCUMENT = "/openapi.json"

TOO_MANY = (429, "Too many requests at once")
TOO_LARGE = (413, "Request body too large")


class Blocks:
    """A body in pieces that the client reads one after the other."""

    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)

    async def read(self) -> bytes:
        block, self._rest = self._rest[:BLOCK_BYTES], self._rest[BLOCK_BYTES:]
        return bytes(block)

    def close(self) -> None:
        self._rest = self._rest[:0]


class AdminServer:
    def __init__(self, admin: Flask) -> None:
        self._admin = admin
        self._threads = ThreadPoolExecutor(THREADS, "admin")
        # It waits for services, each for seconds.
        self._document_thread = ThreadPoolExecutor(1, "admin-document")
        self._server = HTTPServer(self._respond, ClientTimeouts())
        self._in_progress: Counter[str] = Counter()

    async def listen(self, host: str, port: int) -> int:
        """The port. Raises OSError when it is in use."""
        listening = bind(host, port)
        await self._server.listen(listening)
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        await self._server.stop(0)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._document_thread.shutdown(wait=False, cancel_futures=True)

    async def _respond(self, head: Head, body: Stream | None, connection: ClientConnection) -> None:
        exchange = Exchange(head, body, head.peer[0], False)
        # The edge's own header: it removes those of clients.
        address = exchange.header("x-real-ip") or exchange.client_ip
        self._in_progress[address] += 1
        try:
            response = await self._response(exchange, is_one_too_many=self._in_progress[address] > MAX_PER_ADDRESS)
            await respond(exchange, response, connection, body)
            await connection.drain()
        finally:
            self._in_progress -= Counter([address])
            exchange.close()

    async def _response(self, exchange: Exchange, is_one_too_many: bool) -> Response:
        refused = refusal(exchange)
        if refused is not None:
            return responses.error(exchange, refused)
        if is_one_too_many:
            return responses.error(exchange, TOO_MANY, {"Retry-After": "1"})
        try:
            kept = await exchange.body(MAX_BODY_BYTES)
        except BodyTooLarge:
            return responses.error(exchange, TOO_LARGE)
        except ClientTooSlow:
            return responses.error(exchange, TOO_SLOW)
        except BadBody:
            return responses.error(exchange, (400, "Bad request"))
        content = b"" if kept is None else b"".join([block async for block in kept.blocks()])
        thread = self._document_thread if exchange.path == DOCUMENT else self._threads
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, self._compose, exchange, content)
        except Exception as failure:
            log.exception("unhandled error at the admin port", exc_info=failure)
            return responses.error(exchange, responses.UNEXPECTED)

    def _compose(self, exchange: Exchange, content: bytes) -> Response:
        environ = exchange.environ() | {
            "PATH_INFO": unquote(exchange.raw_path, "latin-1"),
            "CONTENT_TYPE": exchange.header("content-type") or "",
            "CONTENT_LENGTH": str(len(content)),
            "wsgi.input": BytesIO(content),
            "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        composed = FlaskResponse.from_app(self._admin, environ, buffered=True)
        left_out = {"connection", "server", "content-type" if composed.status_code in (204, 304) else ""}
        headers = [(name, value) for name, value in composed.headers if name.lower() not in left_out]
        headers.append(("Date", formatdate(usegmt=True)))
        body = composed.get_data()
        whole = body if len(body) <= BLOCK_BYTES else Blocks(body)
        return Response(composed.status_code, [("Server", SERVER), *headers], whole)
