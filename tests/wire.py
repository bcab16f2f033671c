"""A TCP proxy that a test can cut or freeze, as networks do."""

import socket
import struct
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import SplitResult, urlsplit


class Wire:
    """Forwards a free local port to `target`, until it is cut or frozen."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: list[socket.socket] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._is_cut = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    def to(cls, url: str) -> tuple[Self, str]:
        """A proxy to the server of this URL, and the URL through it."""
        parts = urlsplit(url)
        wire = cls((str(parts.hostname), parts.port or 0))
        through = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{wire.port}".removeprefix("@")
        return wire, SplitResult(parts.scheme, through, parts.path, parts.query, "").geturl()

    def cut(self) -> None:
        """Break every connection, including new ones, until `mend`."""
        self._is_cut = True
        self.close_connections()

    def close_connections(self) -> None:
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def mend(self) -> None:
        self._is_cut = False

    def freeze_responses(self) -> None:
        """Requests reach the server, but no response comes back."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self._flowing.set()
        self._server.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                if self._is_cut:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_response: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if is_response:
                    self._flowing.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def reset(port: int) -> None:
    """Connect, send half a request line, and reset the connection."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"GET /health")
