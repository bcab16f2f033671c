"""A small client that sends requests unchanged, and the upstream of the golden cases."""

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.golden.upstream import DEADLINE_SECONDS, Response, Seen, Upstream, running

__all__ = ["DEADLINE_SECONDS", "Client", "Reply", "Response", "Seen", "Upstream", "running"]


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])


class Client:
    """Sends paths and headers unchanged, each request over a new connection."""

    def __init__(self, port: int) -> None:
        self.port = port

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None, **options: Any
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        try:
            connection.request(method, path, body, dict(headers or {}), **options)
            response = connection.getresponse()
            return Reply(response.status, response.getheaders(), response.read())
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        """The response until the gateway closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS) as connection:
            connection.sendall(request)
            response = b""
            while block := connection.recv(65536):
                response += block
            return response

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.send("GET", path, headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return self.send("POST", path, headers, body)
