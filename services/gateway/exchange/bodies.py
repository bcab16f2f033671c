"""Request bodies, kept to repeat failed tries, or unbuffered."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO

from services.gateway.wire.stream import Stream

IN_MEMORY_BYTES = 256 * 1024
"""Larger ones go to a temporary file."""

BLOCK_BYTES = 64 * 1024


class BodyTooLarge(Exception):
    """The body exceeds its limit."""


class KeptBody:
    """In memory or in a file."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.length = 0

    @classmethod
    async def read(cls, stream: Stream, limit_bytes: int | None) -> "KeptBody":
        """Raises BodyTooLarge, ClientGone, ClientTooSlow, BadBody."""
        body = cls()
        try:
            while block := await stream.read():
                body._keep(block)
                if limit_bytes is not None and body.length > limit_bytes:
                    raise BodyTooLarge
        except BaseException:
            body.close()
            raise
        return body

    def _keep(self, block: bytes) -> None:
        self.length += len(block)
        if self._file is None and self.length > IN_MEMORY_BYTES:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`, when the exchange is over
            self._file.writelines(self._blocks)
            self._blocks = []
        if self._file is not None:
            self._file.write(block)
        else:
            self._blocks.append(block)

    @property
    def in_memory(self) -> bytes | None:
        """None when it is in a file."""
        if self._file is not None:
            return None
        self._blocks = [b"".join(self._blocks)]
        return self._blocks[0]

    async def blocks(self) -> AsyncIterator[bytes]:
        if self._file is None:
            yield b"".join(self._blocks)
            return
        self._file.seek(0)
        while block := self._file.read(BLOCK_BYTES):
            yield block
            # File reads never suspend: let other tasks run.
            await asyncio.sleep(0)

    def replace(self, content: bytes) -> None:
        self.close()
        self._blocks, self.length = [content], len(content)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


async def unbuffered(stream: Stream, is_chunked: bool) -> AsyncIterator[bytes]:
    """Chunked again where the length is unknown."""
    while block := await stream.read():
        yield chunk(block) if is_chunked else block
    if is_chunked:
        yield LAST_CHUNK


LAST_CHUNK = b"0\r\n\r\n"


def chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)
