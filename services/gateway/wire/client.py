"""One client's connection."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol, cast

from services.gateway.wire.head import TOO_SLOW, BadBody, ClientGone, ClientTooSlow, Head
from services.gateway.wire.parser import Refused, RequestParser
from services.gateway.wire.stream import Stream

MAX_DISCARDED_BYTES = 8 * 2**20
DISCARD_SECONDS = 5.0
"""Before a close: unread bytes would reset the connection and lose the response."""

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """Seconds."""

    head: float = 10.0
    """From a request's first byte."""
    body: float = 10.0
    """Plus its bytes at `bytes_per_second`; also the longest pause."""
    bytes_per_second: float = 1000.0
    response: float = 60.0
    idle: float = 75.0
    """Between requests; Kong's."""


class Server(Protocol):
    """What a connection needs."""

    timeouts: ClientTimeouts
    is_stopping: bool
    connections: dict["ClientConnection", None]

    async def respond(self, head: Head, body: Stream | None, connection: "ClientConnection") -> None:
        """Write one response."""


class ClientConnection(asyncio.Protocol):
    def __init__(self, server: Server, scheme: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._server, self._scheme, self._port = server, scheme, port
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # made with the connection
        self._parser: RequestParser = None  # type: ignore[assignment]  # likewise
        self._incoming: Stream | None = None
        self._body_since = 0.0
        self._waiting: deque[tuple[Head, Stream | None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_writable = True
        self._discards = False
        self._discarded_bytes = 0
        self._closes = False
        self.deadline = NEVER
        """On the loop's clock; the server's sweep calls `expire`: one timer for all."""

    # --- called by the server

    @property
    def is_idle(self) -> bool:
        return self._task is None and not self._parser.is_in_head

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    def expire(self) -> None:
        self.deadline = NEVER
        if self._discards or not self._is_writable:
            self._transport.abort()
        elif self._incoming is not None:
            self._incoming.fail(ClientTooSlow())
            self._discards = True
        elif self._task is None and self._parser.is_in_head:
            self._refuse(TOO_SLOW)
        elif self._task is None:
            self._transport.close()

    def close_if_idle(self) -> None:
        if self.is_idle:
            self._transport.close()

    # --- called by the responding task

    def decide_keep_alive(self, head: Head, body: Stream | None) -> bool:
        keeps = head.keeps_alive and (body is None or body.whole) and not self._server.is_stopping
        self._closes = self._closes or not keeps
        return not self._closes

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until most is read. Raises ClientGone."""
        if not self._is_writable:
            self._drained = self._loop.create_future()
            await self._drained
        if self._transport.is_closing():
            raise ClientGone

    def break_off(self) -> None:
        """Leave the response visibly unfinished."""
        self._transport.close()

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self._parser = RequestParser(self, self._scheme, (host, port), self._port)
        self._server.connections[self] = None
        self.deadline = self._loop.time() + self._server.timeouts.head

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.pop(self, None)
        if self._incoming is not None:
            self._incoming.fail(ClientGone())
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._discards:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self._transport.abort()
            return
        try:
            if not self._parser.feed(data):
                self._discards = True  # no other protocols
        except Refused as refused:
            self._refuse(refused.kind)

    def eof_received(self) -> bool:
        """Keep a half-closed connection until the response is sent."""
        self._closes = True
        if self._incoming is not None:
            self._incoming.fail(ClientGone())
        return self._task is not None and self._scheme == "http"

    def pause_writing(self) -> None:
        self._is_writable = False
        self.deadline = self._loop.time() + self._server.timeouts.response

    def resume_writing(self) -> None:
        self._is_writable = True
        self.deadline = NEVER
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- called by the parser

    def head_began(self) -> None:
        if self._task is None:
            self.deadline = self._loop.time() + self._server.timeouts.head

    def head_ended(self, head: Head) -> None:
        if head.has_body:
            self._incoming = Stream(self._pause_reading, self._resume_reading)
            self._body_since = self._loop.time()
        self._enqueue(head, self._incoming)

    def body_received(self, block: bytes) -> None:
        body = self._incoming
        if body is not None:
            body.feed(block)
            if not body.is_paused:
                self._extend(body)

    def request_ended(self) -> None:
        if self._incoming is not None:
            self._incoming.finish()
            self._incoming = None
            self.deadline = NEVER

    # --- internal

    def _extend(self, body: Stream) -> None:
        timeouts = self._server.timeouts
        whole = self._body_since + timeouts.body + body.received / timeouts.bytes_per_second
        self.deadline = min(whole, self._loop.time() + timeouts.body)

    def _pause_reading(self) -> None:
        """Suspends the deadline: the client is not slow."""
        self._transport.pause_reading()
        self.deadline = NEVER

    def _resume_reading(self) -> None:
        self._transport.resume_reading()
        if self._incoming is not None:
            self._body_since = self._loop.time() - self._incoming.received / self._server.timeouts.bytes_per_second
            self._extend(self._incoming)

    def _refuse(self, kind: tuple[int, str]) -> None:
        self._discards = True
        if self._incoming is not None:
            # Its exchange reports the error.
            self._incoming.fail(BadBody())
            return
        self._parser.is_in_head = False
        self._enqueue(self._parser.head(kind), None)

    def _enqueue(self, head: Head, body: Stream | None) -> None:
        self._waiting.append((head, body))
        if self._task is None:
            self._next()
        else:
            # A client must not pile up requests.
            self._transport.pause_reading()

    def _next(self) -> None:
        head, body = self._waiting.popleft()
        self.deadline = NEVER
        if body is not None and body is self._incoming:
            self._extend(body)
        self._task = self._loop.create_task(self._respond(head, body))

    async def _respond(self, head: Head, body: Stream | None) -> None:
        try:
            await self._server.respond(head, body, self)
        except ClientGone:
            self._transport.abort()
        except BaseException:
            self._transport.abort()  # response may be half sent
            raise
        finally:
            self._task = None
        if self._transport.is_closing():
            return
        if self._closes:
            self._close()
        elif self._waiting:
            self._transport.resume_reading()
            self._next()
        else:
            self._transport.resume_reading()
            self.deadline = self._loop.time() + self._server.timeouts.idle

    def _close(self) -> None:
        if self._incoming is None and not self._discards:
            self._transport.close()
            return
        self._discards = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self.deadline = self._loop.time() + DISCARD_SECONDS
