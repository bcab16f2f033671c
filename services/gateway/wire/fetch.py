"""One small request of the gateway's own."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypedDict, Unpack

from services.gateway.wire.fields import Fields
from services.gateway.wire.stream import Stream
from services.gateway.wire.upstream import BadResponse, UpstreamConnection, UpstreamResponse

FETCH_FAILURES = (OSError, BadResponse)
MAX_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Fetched:
    status: int
    headers: Fields
    body: bytes

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


class Options(TypedDict, total=False):
    headers: list[tuple[str, str]]
    body: bytes | None
    tls: ssl.SSLContext | None
    server_name: str | None
    version: str


async def fetch(
    method: str, host: str, port: int, target: str, *, timeout_seconds: float, **options: Unpack[Options]
) -> Fetched:
    """Over a new connection. Raises FETCH_FAILURES."""
    async with (
        asyncio.timeout(timeout_seconds),
        opened(method, host, port, target, timeout_seconds=timeout_seconds, **options) as response,
    ):
        return Fetched(response.status, Fields(response.headers), await _whole(response.body))


@asynccontextmanager
async def opened(
    method: str,
    host: str,
    port: int,
    target: str,
    *,
    timeout_seconds: float,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
    server_name: str | None = None,
    version: str = "1.1",
) -> AsyncIterator[UpstreamResponse]:
    """A response with its body to read. The timeout is the head's. Raises FETCH_FAILURES."""
    loop = asyncio.get_running_loop()
    fields = Fields([("Host", host if port in (80, 443) else f"{host}:{port}")])
    for name, value in headers:
        fields.set(name, value)
    fields.add("Connection", "close")
    if body is not None:
        fields.add("Content-Length", str(len(body)))
    connection: UpstreamConnection | None = None
    try:
        async with asyncio.timeout(timeout_seconds):
            _, connection = await loop.create_connection(
                UpstreamConnection, host, port, ssl=tls, server_hostname=(server_name or host) if tls else None
            )
            await connection.send(method, fields.head(f"{method} {target} HTTP/{version}"), body, timeout_seconds)
            response = await connection.response(timeout_seconds)
        yield response
    finally:
        if connection is not None:
            connection.close()


async def _whole(body: Stream) -> bytes:
    blocks, size = [], 0
    while block := await body.read():
        blocks.append(block)
        size += len(block)
        if size > MAX_BYTES:
            raise BadResponse(f"longer than {MAX_BYTES} bytes")
    return b"".join(blocks)
