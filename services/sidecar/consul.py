"""Consul's agent. py-consul would double the process: docs/decisions/0025."""

import http.client
import json
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from chassis.base.parsing import parse_json
from services.sidecar.http import exchange
from services.sidecar.settings import Settings

TIMEOUT_SECONDS = 2.0


class Unavailable(Exception):
    """No response, or no leader."""


class Forbidden(Exception):
    """The ACL token lacks a permission."""


class UnknownCheck(Exception):
    """Consul lost the entry."""


class Agent:
    def __init__(self, settings: Settings) -> None:
        self._url = settings.consul_url
        self._headers = {"X-Consul-Token": settings.consul_token} if settings.consul_token else {}
        self._settings = settings
        self._tls: ssl.SSLContext | None = None

    def require_leader(self) -> None:
        """Raises Unavailable: without a leader an entry waits for the next sync."""
        if not self._request("GET", "/v1/status/leader"):
            raise Unavailable("no leader yet")

    def services(self) -> dict[str, Any]:
        found: dict[str, Any] = self._request("GET", "/v1/agent/services") or {}
        return found

    def register(self, entry: dict[str, Any]) -> None:
        self._request("PUT", "/v1/agent/service/register?replace-existing-checks=true", entry)

    def deregister(self, id_: str) -> None:
        """Ignores a missing entry."""
        with suppress(_Failed):
            self._request("PUT", f"/v1/agent/service/deregister/{quote(id_, safe='')}")

    def renew(self, check_id: str, status: str, output: str) -> None:
        """Raises UnknownCheck."""
        path = f"/v1/agent/check/update/{quote(check_id, safe='')}"
        try:
            self._request("PUT", path, {"Status": status, "Output": output})
        except _Failed as failed:
            # On a full disk Consul renews and fails to persist: registering again would lose the entry.
            if check_id in (self._request("GET", "/v1/agent/checks") or {}):
                raise
            raise UnknownCheck(str(failed)) from failed

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        try:
            self._tls = self._tls or _tls(self._settings)
            status, content = exchange(method, self._url + path, TIMEOUT_SECONDS, self._headers, data, self._tls)
        except (OSError, http.client.HTTPException) as error:
            # Its certificates may have been replaced.
            self._tls = None
            raise Unavailable(repr(error)) from error
        if status in (401, 403):
            raise Forbidden(content.decode(errors="replace")[:200])
        if status >= 400:
            raise _Failed(f"{status}: {content.decode(errors='replace')[:200]}")
        try:
            return parse_json(content) if content else None
        except ValueError as error:
            raise Unavailable(f"not JSON: {error}") from error


class _Failed(Unavailable):
    """An error response."""


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.consul_url.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=settings.consul_ca_file or None)
    if settings.consul_certificate_file:
        context.load_cert_chain(settings.consul_certificate_file, settings.consul_key_file or None)
    return context
