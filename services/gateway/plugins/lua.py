"""The Lua a file may contain: fixed texts, apart from whitespace."""

import base64
import hashlib
import re
from collections.abc import Callable

from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response

Access = Callable[[Exchange], None]
HeaderFilter = Callable[[Exchange, Response], None]

_STRING = r"[^\"'\\\r\n]*"

_HEADER_BY_SCHEME = re.compile(
    r'if kong\.request\.get_forwarded_scheme\(\) == "(https?)"'
    rf' then kong\.response\.set_header\("([A-Za-z0-9-]+)", "({_STRING})"\) end'
)

_TOKEN_DIGEST = re.compile(
    r'local signed = string\.match\(kong\.request\.get_header\("Authorization"\) or "",'
    r' "\[Bb\]earer%s\+\(\[\^\.%s\]\+%\.\[\^\.%s\]\+\)%\."\)'
    r' if signed then kong\.service\.request\.set_header\("(\w+)", ngx\.encode_base64\(ngx\.sha1_bin\(signed\)\)\)'
    r' else kong\.service\.request\.clear_header\("\1"\) end'
)
_SIGNED = re.compile(r"[Bb]earer\s+([^.\s]+\.[^.\s]+)\.")

_UNAVAILABLE = re.compile(
    r"local status = kong\.response\.get_status\(\)"
    r' if \(status == 500 or status == 502 or status == 503\) and kong\.response\.get_source\(\) ~= "service" then'
    r" kong\.response\.set_status\(503\)"
    rf' kong\.response\.set_header\("Content-Type", "({_STRING})"\)'
    r' kong\.response\.set_header\("Retry-After", "(\d+)"\)'
    r' kong\.response\.clear_header\("Content-Length"\)'
    r" kong\.ctx\.plugin\.body = '([^'\\\r\n]*)' end"
)
SEND_BODY = "if kong.ctx.plugin.body then kong.response.set_raw_body(kong.ctx.plugin.body) end"


def access(expression: object) -> Access:
    """Raises ValueError."""
    found = _match(_TOKEN_DIGEST, expression)
    if found is None:
        raise ValueError("the only Lua supported here is kong/kong.yml's digest of a token")
    name = found[1]

    def set_digest(exchange: Exchange) -> None:
        signed = _SIGNED.search(exchange.header("Authorization") or "")
        digest = hashlib.sha1(signed[1].encode("latin-1"), usedforsecurity=False).digest() if signed else None
        exchange.set_header(name, base64.b64encode(digest).decode() if digest else None)

    return set_digest


def header_filter(expression: object) -> HeaderFilter:
    """Raises ValueError."""
    if found := _match(_HEADER_BY_SCHEME, expression):
        scheme, name, value = found.groups()

        def set_by_scheme(exchange: Exchange, response: Response) -> None:
            if exchange.scheme == scheme:
                response.headers.set(name, value)

        return set_by_scheme
    if found := _match(_UNAVAILABLE, expression):
        content_type, seconds, body = found.groups()

        def replace_error(exchange: Exchange, response: Response) -> None:
            if response.status in (500, 502, 503) and not exchange.from_upstream:
                response.status, response.body = 503, body.encode()
                response.headers.set("Content-Type", content_type)
                response.headers.set("Retry-After", seconds)
                response.headers.set("Content-Length", str(len(response.body)))

        return replace_error
    raise ValueError(
        'the only Lua supported here is: if kong.request.get_forwarded_scheme() == "https" '
        'then kong.response.set_header("NAME", "VALUE") end, and kong/kong.yml\'s replacement of errors'
    )


def send_body(expression: str) -> str:
    """Sends what a header filter decided. Raises ValueError."""
    if _words(expression) != SEND_BODY:
        raise ValueError(f"the only Lua supported here is: {SEND_BODY}")
    return expression


def nothing(expression: str) -> str:
    """Removes a field. Raises ValueError."""
    if _words(expression) != "return nil":
        raise ValueError("the only Lua supported here is: return nil")
    return expression


def _match(pattern: re.Pattern[str], expression: object) -> re.Match[str] | None:
    return pattern.fullmatch(_words(str(expression)))


def _words(expression: str) -> str:
    return " ".join(expression.split())
