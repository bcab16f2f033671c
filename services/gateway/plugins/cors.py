"""Cross-origin requests; preflights come before authentication."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig

ALL_METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT"

_PLAIN_ORIGIN = re.compile(r"[A-Za-z0-9.:/-]+")


class CORSConfig(PluginConfig):
    origins: list[str] = Field(default=[])
    headers: list[str] = Field(default=[])
    methods: list[Annotated[str, Field(pattern="^[A-Z]+$")]] = Field(default=ALL_METHODS.split(","))
    exposed_headers: list[str] = Field(default=[])
    max_age: int | None = None
    credentials: bool = False
    private_network: bool = False
    preflight_continue: bool = False


class CORS(Plugin):
    name, priority, takes_consumer = "cors", 2000, False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = CORSConfig.model_validate(entry.config or {})
        self._allows_any = self._config.origins in ([], ["*"])
        self._origins = [_OriginTest(origin) for origin in self._config.origins]

    def access(self, exchange: Exchange) -> Response | None:
        if not _is_preflight(exchange) or self._config.preflight_continue:
            return None
        response = responses.build(200, None, b"")
        self._label(exchange, response)
        response.headers.set("Access-Control-Allow-Methods", ",".join(self._config.methods) or ALL_METHODS)
        requested = exchange.header("Access-Control-Request-Headers")
        allowed = ",".join(self._config.headers) or requested
        if allowed:
            response.headers.set("Access-Control-Allow-Headers", allowed)
        if self._config.max_age is not None:
            response.headers.set("Access-Control-Max-Age", str(self._config.max_age))
        wants_private = exchange.header("Access-Control-Request-Private-Network") == "true"
        if self._config.private_network and wants_private:
            response.headers.set("Access-Control-Allow-Private-Network", "true")
        return response

    def header_filter(self, exchange: Exchange, response: Response) -> None:
        if exchange.match is not None and _is_preflight(exchange):
            return
        self._label(exchange, response)
        if self._config.exposed_headers:
            response.headers.set("Access-Control-Expose-Headers", ",".join(self._config.exposed_headers))

    def _label(self, exchange: Exchange, response: Response) -> None:
        """Vary, where the response depends on Origin."""
        origin = exchange.header("Origin")
        allowed = self._allowed_origin(origin)
        if allowed is None:
            response.headers.remove("Access-Control-Allow-Origin")
        else:
            response.headers.set("Access-Control-Allow-Origin", allowed)
        if not self._allows_any or allowed not in ("*", None):
            response.headers.add("Vary", "Origin")
        if self._config.credentials and allowed != "*":
            response.headers.set("Access-Control-Allow-Credentials", "true")

    def _allowed_origin(self, origin: str | None) -> str | None:
        if self._allows_any or (origin is not None and "*" in self._config.origins):
            # Browsers reject credentials with "*".
            return origin if self._config.credentials and origin is not None else "*"
        if len(self._origins) == 1 and self._origins[0].pattern is None:
            return self._config.origins[0]
        if origin is None:
            return None
        requesting = _normalised(origin)
        return requesting if any(test.fits(requesting) for test in self._origins) else None


class _OriginTest:
    """Plain, or a regular expression (for the host, without a colon)."""

    def __init__(self, origin: str) -> None:
        self.plain = _normalised(origin)
        self.pattern = None if _PLAIN_ORIGIN.fullmatch(origin) or origin == "*" else re.compile(origin.strip("^$"))
        self.by_host = ":" not in origin

    def fits(self, requesting: str) -> bool:
        if self.pattern is None:
            return requesting == self.plain
        subject = (urlsplit(requesting).hostname or requesting) if self.by_host else requesting
        return self.pattern.fullmatch(subject) is not None


def _normalised(origin: str) -> str:
    """Without the scheme's default port."""
    scheme, separator, authority = origin.partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return f"{scheme}{separator}{authority.removesuffix(default)}" if separator and default else origin


def _is_preflight(exchange: Exchange) -> bool:
    return (
        exchange.method == "OPTIONS"
        and exchange.header("Origin") is not None
        and exchange.header("Access-Control-Request-Method") is not None
    )
