"""One connection to an upstream."""

import asyncio
import select
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast

import httptools

from services.gateway.wire.stream import Stream, expire

MAX_HEAD_BYTES = 64 * 1024


class BadResponse(Exception):
    """No response, or invalid HTTP."""


@dataclass(slots=True)
class UpstreamResponse:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: Stream
    length: int | None
    """Content-Length."""


class UpstreamConnection(asyncio.Protocol):
    """One request at a time; pooled in between."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # made with the connection
        self._parser = httptools.HttpResponseParser(self)
        self._method = ""
        self._head: asyncio.Future[UpstreamResponse] = self._loop.create_future()
        self._body: Stream | None = None
        self._is_busy = False
        self._drained: asyncio.Future[None] | None = None
        self._is_writable = True
        self._must_close = False
        self._reset()

    def _reset(self) -> None:
        self._reason = ""
        self._headers: list[tuple[str, str]] = []
        self._unfinished_bytes = 0
        """Before the head was complete."""

    # --- called by its user

    @property
    def is_usable(self) -> bool:
        return not (self._is_busy or self._must_close or self._transport.is_closing())

    @property
    def is_stale(self) -> bool:
        """Closed by the peer or sent unexpected data, unnoticed by the loop."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def send(self, method: str, head: bytes, body: bytes | AsyncIterator[bytes] | None, timeout: float) -> None:
        """Raises TimeoutError; `response` reports a broken connection."""
        self._method, self._is_busy = method, True
        self._head = self._loop.create_future()
        if body is None or isinstance(body, bytes):
            self._transport.write(head + body if body else head)
            return
        self._transport.write(head)
        async for block in body:
            self._transport.write(block)
            if not self._is_writable:
                await self._drain(timeout)
            if self._head.done() or self._transport.is_closing():
                # It responded before reading the whole request.
                self._must_close = True
                return

    async def response(self, timeout: float) -> UpstreamResponse:
        """The head. Raises TimeoutError, BadResponse."""
        timer = self._loop.call_later(timeout, expire, self._head)
        try:
            return await self._head
        finally:
            timer.cancel()

    def close(self) -> None:
        self._must_close = True
        self._transport.abort()

    async def _drain(self, timeout: float) -> None:
        self._drained = self._loop.create_future()
        timer = self._loop.call_later(timeout, expire, self._drained)
        try:
            await self._drained
        finally:
            timer.cancel()
            self._drained = None

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._is_busy:
            self.close()
            return
        try:
            if self._unfinished_bytes > MAX_HEAD_BYTES:
                raise httptools.HttpParserError("head too large")
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BadResponse(f"not HTTP: {error!r}"))
            self.close()
        if self._is_busy and self._body is None:
            self._unfinished_bytes += len(data)

    def eof_received(self) -> None:
        if self._body is not None and not self._is_framed():
            self.on_message_complete()

    def connection_lost(self, error: Exception | None) -> None:
        self.eof_received()
        self._fail(BadResponse(repr(error) if error else "closed"))
        self.resume_writing()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _fail(self, failure: Exception) -> None:
        self._must_close = True
        if self._is_busy and not self._head.done():
            self._head.set_exception(failure)
            # Mark as retrieved: its user may have been cancelled.
            self._head.exception()
        if self._body is not None:
            self._body.fail(failure)

    # --- called by the parser

    def on_status(self, reason: bytes) -> None:
        self._reason += reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._body is None:  # drop trailers
            self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return
        length = next((value for name, value in self._headers if name.lower() == "content-length"), None)
        self._body = Stream(self._transport.pause_reading, self._transport.resume_reading)
        response = UpstreamResponse(status, self._reason, self._headers, self._body, int(length) if length else None)
        if not self._head.done():
            self._head.set_result(response)
        if self._method == "HEAD":
            # The parser does not know that no body follows.
            keeps = self._parser.should_keep_alive() or length is not None
            self._must_close = self._must_close or not keeps
            self._parser = httptools.HttpResponseParser(self)
            self._finish()

    def on_body(self, block: bytes) -> None:
        if self._body is not None:
            self._body.feed(block)

    def on_message_complete(self) -> None:
        if self._body is None:
            self._reset()  # 100 Continue: the response follows
            return
        if not self._parser.should_keep_alive():
            self._must_close = True
        self._finish()

    def _finish(self) -> None:
        body, self._body, self._is_busy = self._body, None, False
        self._reset()
        if body is not None:
            body.finish()

    def _is_framed(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return bool(names & {"content-length", "transfer-encoding"})
