"""Listening sockets, deadlines, graceful stop."""

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable

from services.gateway.wire.client import ClientConnection, ClientTimeouts
from services.gateway.wire.head import Head
from services.gateway.wire.stream import Stream

SWEEP_SECONDS = 0.25
BACKLOG = 4096
MAX_UNSENT_BYTES = 128 * 1024

Respond = Callable[[Head, Stream | None, ClientConnection], Awaitable[None]]


class HTTPServer:
    """Serves any number of sockets."""

    def __init__(self, respond: Respond, timeouts: ClientTimeouts) -> None:
        self._respond = respond
        self.timeouts = timeouts
        self.is_stopping = False
        self.connections: dict[ClientConnection, None] = {}
        """Oldest first."""
        self.accepted = 0
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None
        self._max_connections = _max_connections()

    async def respond(self, head: Head, body: Stream | None, connection: ClientConnection) -> None:
        await self._respond(head, body, connection)

    async def listen(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        scheme, port = "https" if tls else "http", listening.getsockname()[1]

        def connect() -> ClientConnection:
            self.accepted += 1
            if len(self.connections) >= self._max_connections:
                self._make_room()
            return ClientConnection(self, scheme, port)

        loop = asyncio.get_running_loop()
        # Our deadline starts after the handshake.
        handshake = self.timeouts.head if tls else None
        server = await loop.create_server(
            connect, sock=listening, ssl=tls, backlog=BACKLOG, ssl_handshake_timeout=handshake
        )
        self._servers.append(server)
        if self._sweeper is None:
            self._sweeper = loop.create_task(self._sweep())

    async def stop(self, within_seconds: float) -> None:
        """Let requests in progress finish."""
        self.is_stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                while self.connections:
                    await asyncio.sleep(0.02)
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = loop.time()
            for connection in [each for each in self.connections if each.deadline < now]:
                connection.expire()

    def _make_room(self) -> None:
        """Like nginx, close the longest idle connection."""
        idle = next((connection for connection in self.connections if connection.is_idle), None)
        if idle is not None:
            idle.close_if_idle()


def _max_connections() -> int:
    """A request in progress may need a second descriptor, upstream."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard * 3 // 4


def bind(host: str, port: int) -> socket.socket:
    """Raises OSError when in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Otherwise the kernel takes megabytes for a client that does not read.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    return listening
