"""The gateway's own responses, in Kong's format."""

import http
import json
from email.utils import formatdate
from typing import Any, Protocol

from services.gateway.exchange.exchange import Exchange
from services.gateway.wire.fields import Fields

SERVER = "souk-gateway"

NO_ROUTE = (404, "no Route matched with those values")
NO_SERVICE = (503, "no Service found with those values")
INVALID_RESPONSE = (502, "An invalid response was received from the upstream server")
TIMING_OUT = (504, "The upstream server is timing out")
NO_PEER = (503, "failure to get a peer from the ring-balancer")
NAME_RESOLUTION_FAILED = (503, "name resolution failed")
NO_WEBSOCKET = (501, "WebSocket is not supported")
CLIENT_GONE = (499, "The client has closed the request")
UNEXPECTED = (500, "An unexpected error occurred")

_PLAIN_BY_DEFAULT = frozenset({400, 405, 408, 414, 502, 504, 505})
"""As text without an Accept header."""

_LABELLED = frozenset(
    {"text/html", "text/xml", "text/plain", "text/vnd.wap.wml", "application/javascript", "application/rss+xml"}
)
_STATUSES = frozenset(http.HTTPStatus)

_JSON = "application/json; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"
_BODIES = {
    _JSON: '{\n  "message":%s,\n  "request_id":"%s"\n}',
    _PLAIN: "%s\nrequest_id: %s\n",
    "text/html; charset=utf-8": (
        '<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8">\n    <title>Error</title>\n  </head>\n'
        "  <body>\n    <h1>Error</h1>\n    <p>%s.</p>\n    <p>request_id: %s</p>\n  </body>\n</html>\n"
    ),
    "application/xml; charset=utf-8": (
        '<?xml version="1.0" encoding="UTF-8"?>\n<error>\n  <message>%s</message>\n  <requestid>%s</requestid>\n</error>\n'
    ),
}


class Blocks(Protocol):
    """A body read in blocks."""

    async def read(self) -> bytes:
        """Empty at the end. Raises the upstream's failure."""

    def close(self) -> None:
        """Release the connection, even unread."""


class Response:
    """Sent with exactly these headers, plus framing."""

    __slots__ = ("body", "headers", "reason", "status")

    def __init__(self, status: int, headers: list[tuple[str, str]], body: bytes | Blocks, reason: str = "") -> None:
        self.status, self.reason = status, reason
        self.headers = Fields(headers)
        self.body = body


def error(exchange: Exchange, kind: tuple[int, str], headers: dict[str, str] | None = None) -> Response:
    status, message = kind
    content_type = _accepted(exchange.header("accept"), status)
    text = json.dumps(message) if content_type == _JSON else message
    body = (_BODIES[content_type] % (text, exchange.request_id)).encode()
    return build(status, content_type, body, headers)


def plain_json(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """The jwt plugin's format: not negotiated, no request_id."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return build(status, _JSON, body, headers)


def labelled(content_type: str) -> str:
    """With the charset that nginx adds."""
    return f"{content_type}; charset=UTF-8" if content_type.lower() in _LABELLED else content_type


def page(status: int, headers: dict[str, str] | None = None) -> Response:
    """nginx's, where Kong gives no message."""
    title = f"{status} {http.HTTPStatus(status).phrase if status in _STATUSES else ''}".rstrip()
    heading = f"<center><h1>{title}</h1></center>"
    body = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n{heading}\r\n</body>\r\n</html>\r\n"
    return build(status, "text/html" if status in (301, 302) else "text/html; charset=UTF-8", body.encode(), headers)


def build(status: int, content_type: str | None, body: bytes, headers: dict[str, str] | None = None) -> Response:
    fields = [("Date", formatdate(usegmt=True)), ("Server", SERVER)]
    if status != 204:
        fields.append(("Content-Length", str(len(body))))
    if content_type is not None:
        fields.append(("Content-Type", content_type))
    fields += (headers or {}).items()
    return Response(status, fields, body)


def _accepted(accept: str | None, status: int) -> str:
    if accept is None:
        return _PLAIN if status in _PLAIN_BY_DEFAULT else _JSON
    best, best_quality = _JSON, 0.0
    for part in accept.lower().split(","):
        media_type, _, parameters = part.strip().partition(";")
        wanted = media_type.strip()
        wanted = wanted[:-1] if wanted.endswith("/*") else wanted + ";"
        offered = next((each for each in _BODIES if each.startswith(wanted)), None)
        quality = _quality(parameters)
        if offered is not None and quality > best_quality:
            best, best_quality = offered, quality
    return best


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
