"""Sends a golden case's request over a new connection."""

import http.client
import socket
from dataclasses import dataclass

from launcher.golden.case import Request

TIMEOUT_SECONDS = 15.0


@dataclass
class Reply:
    """`status` is 0 without a response."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


CLOSED = Reply(0, [], b"")


def send(host: str, port: int, request: Request) -> Reply:
    with socket.create_connection((host, port), TIMEOUT_SECONDS) as connection:
        try:
            # A refusing server may close early; its response can be read anyway.
            _send(connection, bytes_of(request, f"{host}:{port}"))
            response = http.client.HTTPResponse(connection, method=request.method)
            response.begin()
            body = response.read()
        except http.client.IncompleteRead as error:
            body = error.partial
        except (OSError, http.client.HTTPException):
            return CLOSED
        return Reply(response.status, response.getheaders(), body)


def bytes_of(request: Request, host: str) -> bytes:
    if request.raw is not None:
        return request.raw.encode("latin-1")
    headers = list(request.headers)
    if not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", host))
    if not any(name.lower() == "connection" for name, _ in headers):
        headers.append(("Connection", "close"))
    body = b"x" * request.size if request.size else request.body.encode()
    if request.chunks is not None:
        headers.append(("Transfer-Encoding", "chunked"))
        parts = [b"%x\r\n%s\r\n" % (len(part.encode()), part.encode()) for part in request.chunks]
        body = b"".join([*parts, b"0\r\n\r\n"])
    elif body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(body))))
    head = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return
