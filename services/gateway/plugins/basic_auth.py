"""Requires user name and password (RFC 7617)."""

import base64
import binascii
import hmac
import re

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.config.schema import BasicAuthCredential
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.authentication import anonymous_fallback, identify
from services.gateway.plugins.base import Plugin, PluginConfig

HEADERS = ("Proxy-Authorization", "Authorization")
"""In the order tried."""

_BASIC = re.compile(r"[Bb]asic\s*(.+)")
_PAIR = re.compile(r"([^:]+):(.*)")


class BasicAuthConfig(PluginConfig):
    anonymous: str | None = None
    hide_credentials: bool = False
    realm: str = "service"


class BasicAuth(Plugin):
    name, priority, takes_consumer = "basic-auth", 1100, False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = BasicAuthConfig.model_validate(entry.config or {})
        self._fallback = anonymous_fallback(self._config.anonymous, configuration)
        self._consumers = configuration.consumers
        self._credentials = {each.username: each for each in configuration.basicauth_credentials.values()}

    def access(self, exchange: Exchange) -> Response | None:
        if self._fallback is not None and exchange.is_authenticated:
            return None  # already authenticated
        credential = self._valid(exchange)
        if credential is not None:
            identify(exchange, self._consumers[credential.consumer or ""], credential)
            return None
        if self._fallback is not None:
            self._fallback(exchange)
            return None
        challenge = {"WWW-Authenticate": f'Basic realm="{self._config.realm}"'}
        return responses.error(exchange, (401, "Unauthorized"), challenge)

    def _valid(self, exchange: Exchange) -> BasicAuthCredential | None:
        """Like Kong, try the second header only if the first names no known user."""
        for header in HEADERS:
            name, password = _sent(exchange.header(header) or "")
            if self._config.hide_credentials:
                exchange.set_header(header, None)
            credential = self._credentials.get(name)
            if credential is not None:
                is_right = hmac.compare_digest(credential.password.encode(), password)
                return credential if is_right else None
        return None


def _sent(header: str) -> tuple[str, bytes]:
    found = _BASIC.search(header)
    try:
        encoded = found[1].encode("latin-1") if found else b""
        decoded = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True).decode("latin-1")
    except (binascii.Error, ValueError):
        decoded = ""
    pair = _PAIR.search(decoded)
    if pair is None:
        return "", b""
    return pair[1].encode("latin-1").decode("utf-8", "replace"), pair[2].encode("latin-1")
