"""Headers across the gateway: what an upstream is told about its client, what the client is told, what concerns one hop only."""

from collections.abc import Iterable
from functools import lru_cache

from services.gateway.answers import SERVER
from services.gateway.exchange import Exchange

VIA = f"1.1 {SERVER}"

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)

# Said anew to the upstream, or not a header at all: a client's "Content_Length" arrives under the first name.
_NOT_COPIED = frozenset({"Content-Length", "Content-Type", "Expect", "Host", "Http2-Settings"})

_HOP_BY_HOP_ANSWER = _HOP_BY_HOP - {"te"} | {"x-kong-request-id"}


def to_upstream(exchange: Exchange, host: str) -> dict[str, str]:
    """The request's headers as `host` gets them. Content-Length is the body's business."""
    environ = exchange.environ
    dropped = _named_by(environ.get("HTTP_CONNECTION"))
    headers = {"Host": host, "Connection": "keep-alive"}
    for key, value in exchange.headers.items():
        name = _header_name(key)
        if name not in _NOT_COPIED and name.lower() not in dropped:
            headers[name] = value
    if environ.get("CONTENT_TYPE"):
        headers["Content-Type"] = environ["CONTENT_TYPE"]
    if "trailers" in environ.get("HTTP_TE", "").lower():
        headers["Te"] = "trailers"
    headers.update(_about_the_client(exchange, headers.get("X-Forwarded-For")))
    headers["Via"] = f"{headers['Via']}, {VIA}" if "Via" in headers else VIA
    for name, override in exchange.upstream_headers.items():
        if override is None:
            headers.pop(name, None)
        else:
            headers[name] = override
    return headers


def _about_the_client(exchange: Exchange, forwarded_for: str | None) -> Iterable[tuple[str, str]]:
    yield "X-Forwarded-For", f"{forwarded_for}, {exchange.client_ip}" if forwarded_for else exchange.client_ip
    yield "X-Real-Ip", exchange.client_ip
    yield "X-Forwarded-Proto", exchange.scheme
    yield "X-Forwarded-Host", exchange.hostname
    yield "X-Forwarded-Port", str(exchange.environ["SERVER_PORT"])
    yield "X-Forwarded-Path", exchange.raw_path
    yield "X-Kong-Request-Id", exchange.request_id


@lru_cache(maxsize=1024)
def _header_name(key: str) -> str:
    """HTTP_X_REAL_IP -> X-Real-Ip."""
    return key[5:].replace("_", "-").title()


def _named_by(connection: str | None) -> frozenset[str]:
    """Hop-by-hop headers, with those that the Connection header adds to them."""
    if connection is None or connection.lower() in ("keep-alive", "close"):
        return _HOP_BY_HOP
    return _HOP_BY_HOP | {name.strip().lower() for name in connection.split(",")}


def to_client(exchange: Exchange, upstream: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The upstream's headers as the client gets them, with the gateway's own."""
    connection = next((value for name, value in upstream if name.lower() == "connection"), None)
    dropped = _HOP_BY_HOP_ANSWER if connection is None else _HOP_BY_HOP_ANSWER | _named_by(connection)
    headers, via = [], VIA
    for name, value in upstream:
        lower = name.lower()
        if lower == "via":
            via = f"{value}, {VIA}"
        elif lower not in dropped:
            headers.append((name, value))
    headers.append(("Via", via))
    return headers
