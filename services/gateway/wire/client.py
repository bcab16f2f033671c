"""One client's connection: requests in, each with its deadline, and answers out in turn."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Protocol, cast

from services.gateway.wire.head import TOO_SLOW, BadBody, ClientGone, ClientTooSlow, Head
from services.gateway.wire.parser import Refused, RequestParser
from services.gateway.wire.stream import Stream

MAX_READ_ON_BYTES = 8 * 2**20
READ_ON_SECONDS = 5.0
"""What nobody wants is read and forgotten so far: closing over unread bytes resets a connection, and its answer may be lost."""

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client may take, whatever it does in them."""

    head: float = 10.0
    """For a request's head, from its first byte."""
    body: float = 10.0
    """For a body: this, and as much longer as its bytes take at `bytes_per_second`; but never so long without a byte."""
    bytes_per_second: float = 1000.0
    answer: float = 60.0
    """To take up what was written to it."""
    idle: float = 75.0
    """Between two requests; Kong's."""


class Server(Protocol):
    """What a connection needs of its server."""

    patience: Patience
    is_stopping: bool
    connections: dict["ClientConnection", None]

    async def answer(self, head: Head, body: Stream | None, connection: "ClientConnection") -> None:
        """Write one answer to the connection."""


class ClientConnection(asyncio.Protocol):
    def __init__(self, server: Server, scheme: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._server, self._scheme, self._port = server, scheme, port
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # made with the connection
        self._parser: RequestParser = None  # type: ignore[assignment]  # likewise
        self._incoming: Stream | None = None
        """The body that is coming in."""
        self._body_since = 0.0
        self._waiting: deque[tuple[Head, Stream | None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._is_writable = True
        self._is_deaf = False
        """What comes in is forgotten."""
        self._forgotten_bytes = 0
        self._ends = False
        """After the answer in hand the connection closes."""
        self.deadline = NEVER
        """On the loop's clock. The server's sweep calls `expire` after it: one timer for all, not two for each request."""

    # --- what the server calls

    @property
    def is_idle(self) -> bool:
        return self._task is None and not self._parser.is_in_head

    @property
    def is_busy(self) -> bool:
        """Whether a request is in hand."""
        return self._task is not None

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        if self._is_deaf or not self._is_writable:
            self._transport.abort()
        elif self._incoming is not None:
            self._incoming.fail(ClientTooSlow())
            self._is_deaf = True
        elif self._task is None and self._parser.is_in_head:
            self._refuse(TOO_SLOW)
        elif self._task is None:
            self._transport.close()

    def close_if_idle(self) -> None:
        if self.is_idle:
            self._transport.close()

    # --- what the answering task calls

    def decide_to_keep(self, head: Head, body: Stream | None) -> bool:
        """Whether another request may follow the answer to this one."""
        keeps = head.keeps_alive and (body is None or body.whole) and not self._server.is_stopping
        self._ends = self._ends or not keeps
        return not self._ends

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        """Waits until the client has taken most of what was written. Raises ClientGone."""
        if not self._is_writable:
            self._drained = self._loop.create_future()
            await self._drained
        if self._transport.is_closing():
            raise ClientGone

    def break_off(self) -> None:
        """Leave the answer visibly unfinished."""
        self._transport.close()

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)
        self._parser = RequestParser(self, self._scheme, (host, port), self._port)
        self._server.connections[self] = None
        self.deadline = self._loop.time() + self._server.patience.head

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.pop(self, None)
        if self._incoming is not None:
            self._incoming.fail(ClientGone())
        self.resume_writing()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            self._forgotten_bytes += len(data)
            if self._forgotten_bytes > MAX_READ_ON_BYTES:
                self._transport.abort()
            return
        try:
            if not self._parser.feed(data):
                self._is_deaf = True  # no other protocol is spoken here
        except Refused as refused:
            self._refuse(refused.kind)

    def eof_received(self) -> bool:
        """True: a client that has nothing more to say may still hear the answer."""
        self._ends = True
        if self._incoming is not None:
            self._incoming.fail(ClientGone())
        return self._task is not None and self._scheme == "http"

    def pause_writing(self) -> None:
        self._is_writable = False
        self.deadline = self._loop.time() + self._server.patience.answer

    def resume_writing(self) -> None:
        self._is_writable = True
        self.deadline = NEVER
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- what the parser calls

    def head_began(self) -> None:
        if self._task is None:
            self.deadline = self._loop.time() + self._server.patience.head

    def head_ended(self, head: Head) -> None:
        if head.has_body:
            self._incoming = Stream(self._pause_reading, self._resume_reading)
            self._body_since = self._loop.time()
        self._enqueue(head, self._incoming)

    def body_came(self, block: bytes) -> None:
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

    # --- inside

    def _extend(self, body: Stream) -> None:
        patience = self._server.patience
        whole = self._body_since + patience.body + body.received / patience.bytes_per_second
        self.deadline = min(whole, self._loop.time() + patience.body)

    def _pause_reading(self) -> None:
        """The reader is slower than the client: not the client's fault."""
        self._transport.pause_reading()
        self.deadline = NEVER

    def _resume_reading(self) -> None:
        self._transport.resume_reading()
        if self._incoming is not None:
            self._body_since = self._loop.time() - self._incoming.received / self._server.patience.bytes_per_second
            self._extend(self._incoming)

    def _refuse(self, kind: tuple[int, str]) -> None:
        self._is_deaf = True
        if self._incoming is not None:
            # The exchange in hand says so.
            self._incoming.fail(BadBody())
            return
        self._parser.is_in_head = False
        self._enqueue(self._parser.head(kind), None)

    def _enqueue(self, head: Head, body: Stream | None) -> None:
        self._waiting.append((head, body))
        if self._task is None:
            self._next()
        else:
            # Not read on until its turn comes: a client cannot heap up requests.
            self._transport.pause_reading()

    def _next(self) -> None:
        head, body = self._waiting.popleft()
        self.deadline = NEVER
        if body is not None and body is self._incoming:
            self._extend(body)
        self._task = self._loop.create_task(self._answer(head, body))

    async def _answer(self, head: Head, body: Stream | None) -> None:
        try:
            await self._server.answer(head, body, self)
        except ClientGone:
            self._transport.abort()
        except BaseException:
            self._transport.abort()  # what has left of its answer may be half of it
            raise
        finally:
            self._task = None
        if self._transport.is_closing():
            return
        if self._ends:
            self._end()
        elif self._waiting:
            self._transport.resume_reading()
            self._next()
        else:
            self._transport.resume_reading()
            self.deadline = self._loop.time() + self._server.patience.idle

    def _end(self) -> None:
        if self._incoming is None and not self._is_deaf:
            self._transport.close()
            return
        self._is_deaf = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self.deadline = self._loop.time() + READ_ON_SECONDS
