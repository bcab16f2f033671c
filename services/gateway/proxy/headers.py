"""Headers for the upstream and the client."""

from collections.abc import Iterable

from chassis.base import tracing
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import SERVER, labelled
from services.gateway.wire.fields import Fields

VIA = f"1.1 {SERVER}"

_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"})

_NOT_FORWARDED = _HOP_BY_HOP | {"proxy"}
"""CGI programs take Proxy for HTTP_PROXY (httpoxy)."""

_REPLACED = frozenset(
    {"host", "content-length", "expect", "http2-settings", "via", "x-forwarded-for", "x-real-ip", "x-kong-request-id"}
)

_FORWARDED = frozenset(
    {"x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-path", "x-forwarded-prefix"}
)

_TRACE = frozenset(tracing.HEADERS)

_NONE = frozenset[str]()

_NOT_RETURNED = (_HOP_BY_HOP - {"te", "proxy-connection"}) | {
    "trailer",
    "x-accel-buffering",
    "x-accel-charset",
    "x-accel-expires",
    "x-accel-limit-rate",
    "x-accel-redirect",
    "x-kong-proxy-latency",
    "x-kong-request-id",
    "x-kong-upstream-latency",
    "x-pad",
}


def to_upstream(exchange: Exchange, host: str) -> Fields:
    """Without framing."""
    # Kong reads the first of two Connection headers.
    dropped = _NOT_FORWARDED | _named_by(exchange.header("connection"))
    if exchange.traceparent:
        dropped |= _TRACE
    overrides = exchange.upstream_headers
    items = [("Host", host), ("Connection", "keep-alive")]
    via = []
    for name, value in exchange.headers:
        lower = name.lower()
        # WSGI servers read X_Real_IP as X-Real-IP: do not let it override ours.
        canonical = lower.replace("_", "-") if "_" in lower else lower
        if canonical in overrides or canonical in dropped or (canonical in _REPLACED and canonical is not lower):
            continue
        if lower not in _REPLACED and (lower not in _FORWARDED or exchange.is_trusted):
            items.append((name, value))
        elif lower == "via":
            via.append(value)
    if "trailers" in (exchange.header("te") or "").lower():
        items.append(("TE", "trailers"))
    # Kong reads the first of two.
    before = exchange.header("x-forwarded-for")
    own = [
        ("X-Forwarded-For", f"{before}, {exchange.head.peer[0]}" if before else exchange.head.peer[0]),
        ("X-Real-IP", exchange.client_ip),
        *_forwarded(exchange),
        ("Via", ", ".join([*via, VIA if exchange.head.version == "1.1" else f"1 {SERVER}"])),
        ("X-Kong-Request-Id", exchange.request_id),
    ]
    if exchange.traceparent:
        own.append(("traceparent", exchange.traceparent))
    items += ((name, value) for name, value in overrides.values() if value is not None)
    if exchange.reshape is None:
        return Fields([*items, *own])
    fields = Fields(items)
    exchange.reshape(fields)
    fields.remove_all({name.lower() for name, _ in own})
    return Fields([*fields, *own])


def names_length(exchange: Exchange) -> bool:
    """Connection names Content-Length: like Kong, forward without the body."""
    return "content-length" in _named_by(exchange.header("connection"))


def _forwarded(exchange: Exchange) -> Iterable[tuple[str, str]]:
    """X-Forwarded-*, unless set by a trusted proxy."""
    forwarded = (
        ("X-Forwarded-Proto", exchange.head.scheme),
        ("X-Forwarded-Host", exchange.hostname),
        ("X-Forwarded-Port", str(exchange.head.port)),
        ("X-Forwarded-Path", exchange.raw_path),
    )
    if not exchange.is_trusted:
        return forwarded
    return [(name, value) for name, value in forwarded if exchange.header(name) is None]


def _named_by(connection: str | None) -> frozenset[str]:
    if connection is None or connection.lower() in ("", "keep-alive", "close"):
        return _NONE
    return frozenset(name.strip() for name in connection.lower().split(","))


def to_client(upstream: list[tuple[str, str]]) -> list[tuple[str, str]]:
    connection = ",".join(value for name, value in upstream if name.lower() == "connection")
    dropped = _NOT_RETURNED | _named_by(connection)
    return [
        (name, labelled(value) if lower == "content-type" else value)
        for name, value in upstream
        if (lower := name.lower()) not in dropped
    ]
