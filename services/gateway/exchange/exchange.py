"""One request."""

import re
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from chassis.base import tracing
from chassis.base.tracing import Kind, Span
from services.gateway.config.schema import Consumer, Credential
from services.gateway.exchange.bodies import KeptBody, unbuffered
from services.gateway.exchange.routing import Match
from services.gateway.wire.fields import Fields
from services.gateway.wire.head import Head
from services.gateway.wire.stream import Stream

_COOKIE = re.compile(r"\s*([^=;]+?)\s*=\s*([^;]*?)\s*(?:;|$)")


@dataclass(slots=True)
class Try:
    """One attempt at an upstream."""

    ip: str
    port: int
    started_at: float
    """Seconds since the epoch."""
    seconds: float = 0.0
    """Until the connection was open."""
    failure: int | None = None


class Exchange:
    """`set_header` overrides the client's header; None removes it."""

    def __init__(
        self,
        head: Head,
        body: Stream | None,
        client_ip: str,
        is_trusted: bool,
        send_continue: Callable[[], None] | None = None,
    ) -> None:
        """`send_continue`: called before the body is read."""
        self.started = time.perf_counter()
        self.started_at = time.time()
        self.head = head
        self.request_id = secrets.token_hex(16)
        """Also the id of its trace."""
        self.method = head.method
        authority, target = _split(head.target)
        self.raw_path, separator, self.query = target.partition("?")
        if "#" in self.query:
            self.query = self.query.partition("#")[0]
        self.has_query = bool(separator)
        """True for a bare `?`."""
        self.path = "/"
        """Normalised once validated."""
        self.headers = Fields(head.headers)
        self._first = _first_values(head.headers)
        if authority is not None and "host" in self._first:
            self._first["host"] = authority
        self.client_ip = client_ip
        self.is_trusted = is_trusted
        """Whether the peer's X-Forwarded-* count."""
        self.span, self.traceparent = _trace(self.request_id, self._first.get("traceparent", ""))
        self.match: Match | None = None
        self.consumer: Consumer | None = None
        self.credential: Credential | None = None
        self.groups: tuple[str, ...] | None = None
        self.correlation_id: str | None = None
        self.upstream_headers: dict[str, tuple[str, str | None]] = {}
        self.response_headers: list[tuple[str, str]] = []
        """Added to any response."""
        self.reshape: Callable[[Fields], None] | None = None
        """Last change to the upstream's headers."""
        self.upstream_method: str | None = None
        self.upstream_path: str | None = None
        self.upstream_uri = ""
        self.tries: list[Try] = []
        self.upstream_statuses: list[str] = []
        self.tried_at: float | None = None
        self.upstream_seconds: float | None = None
        """From sending the request to the response's head."""
        self.from_upstream = False
        self.sent_bytes = 0
        self.finished: float | None = None
        self._stream, self._send_continue = body, send_continue
        self._kept: KeptBody | None = None

    @property
    def host(self) -> str:
        return self._first.get("host", "")

    @property
    def hostname(self) -> str:
        """In lower case, without the port."""
        host = self.host.lower()
        return host if host.endswith("]") else host.rpartition(":")[0] or host

    @property
    def scheme(self) -> str:
        """As a trusted proxy reports it."""
        forwarded = self.header("x-forwarded-proto") if self.is_trusted else None
        return forwarded if forwarded in ("http", "https") else self.head.scheme

    @property
    def distinct_headers(self) -> int:
        return len(self._first)

    @property
    def is_authenticated(self) -> bool:
        return self.credential is not None

    def header(self, name: str) -> str | None:
        return self._first.get(name.lower())

    def ignore(self, name: str) -> None:
        """As if the client had not sent this header."""
        self._first.pop(name, None)

    def current_header(self, name: str) -> str | None:
        """First of that name, after plugins so far."""
        decided = self.upstream_headers.get(name.lower())
        return decided[1] if decided else self.header(name)

    def set_header(self, name: str, value: str | None) -> None:
        self.upstream_headers[name.lower()] = (name, value)

    def cookies(self) -> dict[str, str]:
        """The first of each name."""
        found: dict[str, str] = {}
        for header in self.headers.all("cookie"):
            for name, value in _COOKIE.findall(header):
                found.setdefault(name, value.strip('"'))
        return found

    def query_arguments(self) -> dict[str, str | list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in parse_qsl(self.query, keep_blank_values=True):
            found.setdefault(name, []).append(value)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

    @property
    def received_bytes(self) -> int:
        """Head and body."""
        head = len(self.head.method) + len(self.head.target) + 14
        fields = sum(len(name) + len(value) + 4 for name, value in self.head.headers)
        return head + fields + (self._stream.received if self._stream is not None else 0)

    def headers_after_plugins(self) -> Fields:
        overridden = self.upstream_headers
        kept = [(name, value) for name, value in self.headers if name.lower() not in overridden]
        return Fields([*kept, *((name, value) for name, value in overridden.values() if value is not None)])

    def query_values(self, name: str) -> list[str]:
        if name not in self.query and "%" not in self.query:
            return []
        return [value for key, value in parse_qsl(self.query, keep_blank_values=True) if key == name]

    @property
    def announced_length(self) -> int | None:
        """Content-Length; None without one."""
        length = self._first.get("content-length", "").strip()
        return int(length) if length.isdecimal() else None

    @property
    def has_body(self) -> bool:
        return self._stream is not None

    async def body(self, limit_bytes: int | None = None) -> KeptBody | None:
        """Raises BodyTooLarge, ClientGone, ClientTooSlow, BadBody."""
        if self._kept is None and self._stream is not None:
            self._accept()
            self._kept = await KeptBody.read(self._stream, limit_bytes)
        return self._kept

    def set_body(self, content: bytes) -> None:
        if self._kept is None:
            self._kept = KeptBody()
        self._kept.replace(content)

    def stream(self) -> AsyncIterator[bytes] | None:
        """As it arrives; None when absent or already kept."""
        if self._stream is None or self._kept is not None:
            return None
        self._accept()
        return unbuffered(self._stream, is_chunked=self.announced_length is None)

    def _accept(self) -> None:
        if self._send_continue is not None:
            self._send_continue()
            self._send_continue = None

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def seconds(self, since: float | None = None) -> float:
        """By default, since the request came in."""
        return time.perf_counter() - (self.started if since is None else since)

    def environ(self) -> dict[str, Any]:
        """For Flask's request, without the body."""
        head = self.head
        environ: dict[str, Any] = {
            "REQUEST_METHOD": head.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self.raw_path,
            "QUERY_STRING": self.query,
            "SERVER_NAME": self.hostname,
            "SERVER_PORT": str(head.port),
            "SERVER_PROTOCOL": f"HTTP/{head.version}",
            "REMOTE_ADDR": self.client_ip,
            "wsgi.url_scheme": head.scheme,
            "gateway.exchange": self,
        }
        for name, value in self._first.items():
            environ["HTTP_" + name.upper().replace("-", "_")] = value
        return environ


def _trace(request_id: str, sent: str) -> tuple[Span | None, str]:
    """The request's span, and what services are told of its trace. Of the client's trace only whether it is sampled counts."""
    if not tracing.is_on():
        return None, ""
    if sent and not tracing.is_sampled(sent):
        return None, tracing.unsampled(request_id)
    span = tracing.start("HTTP", Kind.SERVER, request_id)
    return span, span.traceparent if span is not None else ""


def _split(target: str) -> tuple[str | None, str]:
    """Authority and path; an absolute target overrides Host (RFC 9112, 3.2.2)."""
    for scheme in ("http://", "https://"):
        if target.lower().startswith(scheme):
            rest = target[len(scheme) :]
            authority = re.split("[/?#]", rest, maxsplit=1)[0]
            path = rest[len(authority) :]
            return authority, path if path.startswith("/") else "/" + path
    return None, target


def _first_values(headers: list[tuple[str, str]]) -> dict[str, str]:
    first: dict[str, str] = {}
    for name, value in headers:
        first.setdefault(name.lower(), value)
    return first
