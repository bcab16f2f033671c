"""Reads request bodies in few threads: granian cannot time out a body, so a client that stops halfway holds its thread.

When all are held, connections that were owed a response for too long are closed.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from chassis.run import sockets

MAX_BODY_BYTES = 1_000_000
MAX_DRAINED_BYTES = 8 * 2**20
"""As much as the edge lets through. Closing with unread data resets the connection and loses the response."""

READERS = 4
MAX_WAIT_SECONDS = 1.0
"""Bodies that take longer no longer hold up others: those are refused at once."""

_BLOCK_BYTES = 65_536
_CHECK_SECONDS = 1.0


class IncompleteBody(Exception):
    """Its connection ended before it did."""


class TooManySlowBodies(Exception):
    """All readers wait for their clients."""


class BodyReaders:
    """Allow as many threads more than requests are to be handled at once."""

    def __init__(self, port: int, max_seconds: float, readers: int = READERS) -> None:
        """max_seconds: for a body, and longer than any response takes."""
        self._port, self._max_seconds = port, max_seconds
        self._free = threading.Semaphore(readers)
        self._started: dict[int, float] = {}
        self._closing = threading.Lock()

    def read(self, environ: dict[str, Any]) -> None:
        """Replaces the body by one in memory. Raises IncompleteBody, TooManySlowBodies."""
        announced = environ.get("CONTENT_LENGTH", "0")
        if announced == "0" and "HTTP_TRANSFER_ENCODING" not in environ:
            return
        with self._reader():
            body = _read(environ["wsgi.input"])
        if len(body) < min(int(announced), MAX_BODY_BYTES):
            raise IncompleteBody
        environ["wsgi.input"] = BytesIO(body)

    @contextmanager
    def _reader(self) -> Iterator[None]:
        oldest = min(list(self._started.values()), default=time.monotonic())
        if not self._free.acquire(timeout=max(0.0, oldest + MAX_WAIT_SECONDS - time.monotonic())):
            if self._closing.acquire(blocking=False):
                threading.Thread(target=self._close_slow, name="slow-bodies", daemon=True).start()
            raise TooManySlowBodies
        thread = threading.get_ident()
        self._started[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._started[thread]
            self._free.release()

    def _close_slow(self) -> None:
        """Until no body is slow any longer."""
        owed: dict[sockets.Connection, float] = {}
        try:
            while self._is_slow():
                now = time.monotonic()
                owed = {each: owed.get(each, now) for each in sockets.awaiting_response(self._port)}
                for connection, since in owed.items():
                    if now - since > self._max_seconds:
                        sockets.stop_reading(connection)
                time.sleep(_CHECK_SECONDS)
        finally:
            self._closing.release()

    def _is_slow(self) -> bool:
        return min(list(self._started.values()), default=math.inf) + MAX_WAIT_SECONDS < time.monotonic()


def _read(body: Any) -> bytes:
    """One byte more than is allowed tells that it is too long."""
    kept = bytearray()
    for _ in range(MAX_DRAINED_BYTES // _BLOCK_BYTES):
        block = body.read(_BLOCK_BYTES)
        if not block:
            break
        kept += block[: MAX_BODY_BYTES + 1 - len(kept)]
    return bytes(kept)
