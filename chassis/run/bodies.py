"""Reads request bodies in few threads: granian cannot time out a body, so a client that stops halfway holds its thread."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

MAX_BODY_BYTES = 1_000_000
MAX_DRAINED_BYTES = 8 * 2**20
"""As much as the edge lets through. Closing with unread data resets the connection and loses the response."""

READERS = 4
MAX_WAIT_SECONDS = 1.0
"""Bodies that take longer no longer hold up others: those are refused at once."""

_BLOCK_BYTES = 65_536


class TooManySlowBodies(Exception):
    """All readers wait for their clients."""


class BodyReaders:
    """Allow as many threads more than requests are to be handled at once."""

    def __init__(self, readers: int = READERS) -> None:
        self._free = threading.Semaphore(readers)
        self._started: dict[int, float] = {}

    def read(self, environ: dict[str, Any]) -> None:
        """Replaces the body by one in memory. Raises TooManySlowBodies."""
        if environ.get("CONTENT_LENGTH", "0") == "0" and "HTTP_TRANSFER_ENCODING" not in environ:
            return
        with self._reader():
            environ["wsgi.input"] = BytesIO(_read(environ["wsgi.input"]))

    @contextmanager
    def _reader(self) -> Iterator[None]:
        oldest = min(list(self._started.values()), default=time.monotonic())
        if not self._free.acquire(timeout=max(0.0, oldest + MAX_WAIT_SECONDS - time.monotonic())):
            raise TooManySlowBodies
        thread = threading.get_ident()
        self._started[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._started[thread]
            self._free.release()


def _read(body: Any) -> bytes:
    """One byte more than is allowed tells that it is too long."""
    kept = bytearray()
    for _ in range(MAX_DRAINED_BYTES // _BLOCK_BYTES):
        block = body.read(_BLOCK_BYTES)
        if not block:
            break
        kept += block[: MAX_BODY_BYTES + 1 - len(kept)]
    return bytes(kept)
