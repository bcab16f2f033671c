"""The part of a request that is hashed."""

import uuid

from services.gateway.config.schema import HashInput, Upstream
from services.gateway.exchange.exchange import Exchange


def key_of(exchange: Exchange, upstream: Upstream) -> str:
    """Empty if neither `hash_on` nor `hash_fallback` applies."""
    return _value(exchange, upstream, upstream.hash_on, "hash_on") or (
        _value(exchange, upstream, upstream.hash_fallback, "hash_fallback") or ""
    )


def _value(exchange: Exchange, upstream: Upstream, kind: HashInput, role: str) -> str | None:
    match kind:
        case "consumer":
            return exchange.consumer.id if exchange.consumer else None
        case "ip":
            return exchange.client_ip
        case "path":
            return exchange.raw_path
        case "header":
            return ",".join(exchange.headers.all(getattr(upstream, f"{role}_header"))) or None
        case "query_arg":
            return ",".join(exchange.query_values(getattr(upstream, f"{role}_query_arg"))) or None
        case "uri_capture":
            captures = exchange.match.captures if exchange.match else {}
            return captures.get(getattr(upstream, f"{role}_uri_capture"))
        case "cookie":
            return _cookie(exchange, upstream)
    return None


def _cookie(exchange: Exchange, upstream: Upstream) -> str:
    name = upstream.hash_on_cookie or ""
    found = exchange.cookies().get(name)
    if found:
        return found
    value = str(uuid.uuid4())
    # Kong's hyphen: browsers fall back to their default, also Lax.
    cookie = f"{name}={value}; Path={upstream.hash_on_cookie_path}; Same-Site=Lax; HttpOnly"
    exchange.response_headers.append(("Set-Cookie", cookie))
    return value
