"""One request on its way through the gateway: what came in, what was decided about it, what to tell either side."""

import re
import secrets
import time
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import parse_qsl

from services.gateway import uris
from services.gateway.routing import Match
from services.gateway.schema import Consumer, JWTSecret

IN_MEMORY_BYTES = 256 * 1024
"""A body beyond this waits in a temporary file, so that memory stays bounded and a failed try can be repeated."""

_BLOCK = 64 * 1024
_PORT = re.compile(r":\d+$")


class BodyTooLarge(Exception):
    """The body has more bytes than it may."""


class ClientGone(Exception):
    """The client sent less than it announced."""


class Exchange:
    """`set_header` decides what the upstream sees in place of what the client sent; None hides it."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.started = time.perf_counter()
        self.environ = environ
        self.headers: dict[str, str] = {key: value for key, value in environ.items() if key.startswith("HTTP_")}
        """As WSGI has them: `HTTP_X_REAL_IP`, repeated ones joined by commas."""
        self.request_id = secrets.token_hex(16)
        self.method: str = environ["REQUEST_METHOD"]
        self.raw_path = uris.raw_path(environ)
        self.path = "/"
        self.query: str = environ.get("QUERY_STRING", "")
        self.scheme: str = environ["wsgi.url_scheme"]
        self.host: str = self.headers.get("HTTP_HOST", "")
        self.client_ip: str = environ.get("REMOTE_ADDR", "")
        self.match: Match | None = None
        self.consumer: Consumer | None = None
        self.credential: JWTSecret | None = None
        self.upstream_headers: dict[str, str | None] = {}
        self.tried_at: float | None = None
        """When the first try at an upstream began, if one did."""
        self.upstream_seconds: float | None = None
        """From sending to the upstream until its answer's head was there; None while there is no answer."""
        self.from_upstream = False
        self._body: IO[bytes] | None = None
        self.body_length: int | None = None

    @property
    def hostname(self) -> str:
        """The Host header without its port."""
        return _PORT.sub("", self.host)

    @property
    def is_authenticated(self) -> bool:
        return self.credential is not None

    def header(self, name: str) -> str | None:
        """A header of the request as the client sent it."""
        return self.headers.get("HTTP_" + name.upper().replace("-", "_"))

    def set_header(self, name: str, value: str | None) -> None:
        self.upstream_headers[name.title()] = value

    def query_values(self, name: str) -> list[str]:
        return [value for key, value in parse_qsl(self.query, keep_blank_values=True) if key == name]

    @property
    def announced_length(self) -> int | None:
        """Content-Length; None without one."""
        length: str = self.environ.get("CONTENT_LENGTH") or ""
        return int(length) if length.isdecimal() else None

    @property
    def has_body(self) -> bool:
        return bool(self.announced_length) or self.header("Transfer-Encoding") is not None

    def body(self, limit_bytes: int | None = None) -> IO[bytes] | None:
        """The whole body, read once and kept; positioned at its start. Raises BodyTooLarge, ClientGone."""
        if not self.has_body:
            return None
        if self._body is None:
            self._body, self.body_length = self._read(limit_bytes)
        self._body.seek(0)
        return self._body

    def _read(self, limit_bytes: int | None) -> tuple[IO[bytes], int]:
        source = self.environ["wsgi.input"]
        # Closed by `close`, when the exchange is over.
        spool = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115
        length, announced = 0, self.announced_length
        # Not every server ends the stream where the body ends.
        while announced is None or length < announced:
            block = source.read(_BLOCK if announced is None else min(_BLOCK, announced - length))
            if not block:
                break
            length += len(block)
            if limit_bytes is not None and length > limit_bytes:
                spool.close()
                raise BodyTooLarge
            spool.write(block)
        if announced is not None and length < announced:
            spool.close()
            raise ClientGone
        return spool, length

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def seconds(self, since: float | None = None) -> float:
        """From when the request came in, or since that moment, until now."""
        return time.perf_counter() - (self.started if since is None else since)
