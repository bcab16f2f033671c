"""An upstream's body on its way to the client, block by block as it comes, and then its connection back to the pool."""

import http.client
from collections.abc import Iterator

from services.gateway.connections import Connection, Pool

BLOCK_BYTES = 64 * 1024


class Stream:
    """Iterates the body. A body that ends early raises, so that the client's connection breaks off too."""

    def __init__(self, response: http.client.HTTPResponse, connection: Connection, pool: Pool) -> None:
        self._response, self._connection, self._pool = response, connection, pool

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            block = self._response.read1(BLOCK_BYTES)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if block:
            return block
        self._finish()
        raise StopIteration

    def _finish(self) -> None:
        missing = self._response.length
        # http.client keeps a response of known length open when its last byte was read.
        self._response.close()
        if missing:
            self._connection.close()
            raise http.client.IncompleteRead(b"", missing)
        self._pool.release(self._connection)

    def close(self) -> None:
        """The client is gone: what is left of the answer cannot be had from a connection that is used again."""
        if not self._response.isclosed():
            self._connection.close()
