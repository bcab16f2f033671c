"""The admin port's token: needed to write and to read secrets."""

import hmac
import ipaddress
from collections.abc import Iterator
from typing import Any

from flask import Flask, request
from structlog import get_logger

from services.gateway.settings import GatewaySettings

log = get_logger(__name__)

TOKEN_HEADER = "Kong-Admin-Token"  # noqa: S105 - a header's name
BLANK = "(secret)"

_SECRETS = {"secret", "password", "client_secret", "http_endpoint"}
"""An endpoint may hold a password."""

_SECRET_LISTS = {"keyauth_credentials": "key"}


class Access:
    """Without a token, open like Kong's, except to web pages."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._token = settings.admin_token.get_secret_value() if settings.admin_token else None
        self._names = {"localhost", settings.admin_host, *settings.admin_names}
        if self._token is None:
            log.warning("admin port without a token", advice="set SOUK_ADMIN_TOKEN", host=settings.admin_host)

    def guard(self, app: Flask) -> None:
        app.before_request(self._refuse)

    @property
    def sees_secrets(self) -> bool:
        if self._token is None:
            return True
        return hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self._token.encode())

    def shown(self, content: Any) -> Any:
        return content if self.sees_secrets else blanked(content)

    def _refuse(self) -> tuple[dict[str, str], int] | None:
        if not self._is_ours(request.host):
            return {"message": "Host not allowed"}, 403
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return None
        if "Origin" in request.headers:
            return {"message": "Not for browsers"}, 403
        return None if self.sees_secrets else ({"message": f"{TOKEN_HEADER} required"}, 401)

    def _is_ours(self, host: str) -> bool:
        """Against DNS rebinding: a web page reaches this port by name, not by address."""
        name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
        try:
            return name in self._names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def blanked(content: Any, secret: str = "") -> Any:
    """`secret`: one more field to blank."""
    if isinstance(content, dict):
        return {name: _blanked_field(name, value, secret) for name, value in content.items()}
    if isinstance(content, list):
        return [blanked(value, secret) for value in content]
    return content


def _blanked_field(name: str, value: Any, secret: str) -> Any:
    if value is not None and not isinstance(value, dict | list) and name in (secret, *_SECRETS):
        return BLANK
    if name == "headers" and isinstance(value, dict):
        return dict(_credentials_blanked(value))
    return blanked(value, _SECRET_LISTS.get(name, secret if name == "data" else ""))


def _credentials_blanked(headers: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Lists are a route's values to match, not credentials."""
    for name, value in headers.items():
        yield name, BLANK if isinstance(value, str) else value
