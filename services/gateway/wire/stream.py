"""A body passing through, in blocks."""

import asyncio
from collections.abc import Callable
from typing import Any

MAX_BUFFERED_BYTES = 256 * 1024
"""Above this the source pauses, which bounds memory."""


class Stream:
    """Fed by a connection; read by one task."""

    __slots__ = (
        "_blocks",
        "_failure",
        "_pause",
        "_paused",
        "_resume",
        "_size",
        "_waiter",
        "discarded",
        "received",
        "whole",
    )

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._blocks: list[bytes] = []
        self._size = 0
        self._pause, self._resume = pause, resume
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self.received = 0
        """Bytes."""
        self.whole = False
        self.discarded = False

    @property
    def is_paused(self) -> bool:
        return self._paused

    def feed(self, block: bytes) -> None:
        self.received += len(block)
        if self.discarded:
            return
        self._blocks.append(block)
        self._size += len(block)
        if self._size > MAX_BUFFERED_BYTES and not self._paused:
            self._paused = True
            self._pause()
        self._wake()

    def finish(self) -> None:
        self.whole = True
        self._wake()

    def fail(self, failure: BaseException) -> None:
        """Reads raise this, unless the body is complete."""
        if not self.whole and self._failure is None:
            self._failure = failure
            self._wake()

    def discard(self) -> None:
        self.discarded = True
        self._take()

    async def read(self, timeout_seconds: float | None = None) -> bytes:
        """What has arrived; empty at the end. Raises the connection's failure, or TimeoutError."""
        while not self._blocks:
            if self.whole:
                return b""
            if self._failure is not None:
                raise self._failure
            await self._more(timeout_seconds)
        return self._take()

    async def until_whole(self, timeout_seconds: float) -> bytes:
        """For a body known to be small. Raises like `read`."""
        while not self.whole:
            if self._failure is not None:
                raise self._failure
            await self._more(timeout_seconds)
        return self._take()

    def _take(self) -> bytes:
        blocks = self._blocks
        taken = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        self._blocks, self._size = [], 0
        if self._paused:
            self._paused = False
            self._resume()
        return taken

    async def _more(self, timeout_seconds: float | None) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = None if timeout_seconds is None else loop.call_later(timeout_seconds, expire, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def expire(waiter: "asyncio.Future[Any]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
