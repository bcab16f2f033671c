"""Requests refused before routing."""

import re

from services.gateway.config.paths import BadPath, normalise
from services.gateway.exchange.exchange import Exchange
from services.gateway.wire.head import BAD_REQUEST, NOT_ALLOWED, UNKNOWN_ENCODING, UNKNOWN_VERSION

_HOST = re.compile(r"([A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")

_SINGLE = (
    "host",
    "authorization",
    "content-length",
    "content-range",
    "expect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "transfer-encoding",
)
"""nginx's. If repeated, one reader takes the first, another the last."""


def refusal(exchange: Exchange) -> tuple[int, str] | None:
    """Also sets the normalised path."""
    head = exchange.head
    if head.refusal is not None:
        return head.refusal
    if head.version not in ("1.0", "1.1"):
        return UNKNOWN_VERSION
    if head.method == "TRACE":
        # No echo of proxies' headers.
        return NOT_ALLOWED
    if head.method == "CONNECT":
        return BAD_REQUEST
    encoding = exchange.header("transfer-encoding")
    if encoding is not None and encoding.lower() != "chunked":
        return UNKNOWN_ENCODING
    if not _has_one_host(exchange) or _has_ambiguous_length(exchange) or _repeats_header(exchange):
        return BAD_REQUEST
    try:
        exchange.path = normalise(exchange.raw_path)
    except BadPath:
        # nginx refuses a target before it reads Accept.
        exchange.ignore("accept")
        return BAD_REQUEST
    return None


def _has_one_host(exchange: Exchange) -> bool:
    host = exchange.header("host")
    if host is None:
        return exchange.head.version == "1.0"
    return _HOST.fullmatch(host) is not None


def _has_ambiguous_length(exchange: Exchange) -> bool:
    """Two framings allow request smuggling."""
    if exchange.header("transfer-encoding") is None:
        return False
    return exchange.header("content-length") is not None or exchange.head.version != "1.1"


def _repeats_header(exchange: Exchange) -> bool:
    if len(exchange.headers) == exchange.distinct_headers:
        return False
    return any(len(exchange.headers.all(name)) > 1 for name in _SINGLE)
