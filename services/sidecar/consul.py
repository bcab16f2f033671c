"""The six requests to Consul's agent of which a sidecar's work consists; the same from Consul 1.8 on.

Spoken by hand: py-consul would double the process (docs/decisions/0025).
"""

import http.client
import json
import ssl
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from services.sidecar.http import exchange
from services.sidecar.settings import Settings

TIMEOUT_SECONDS = 2.0


class Away(Exception):
    """Consul does not answer, or has no leader that could keep an entry."""


class Refused(Exception):
    """Consul does not let us: the token lacks a right, or what we said is wrong."""


class Unknown(Exception):
    """Consul does not know our check: it was wiped, or somebody has removed the entry."""


class Agent:
    def __init__(self, settings: Settings) -> None:
        self._url = settings.consul_url
        self._headers = {"X-Consul-Token": settings.consul_token} if settings.consul_token else {}
        self._tls = _tls(settings) if settings.consul_url.startswith("https") else None

    def expect_leader(self) -> None:
        """Raises Away without one. An entry made in the meantime would reach the catalogue only by Consul's own next round."""
        if not self._ask("GET", "/v1/status/leader"):
            raise Away("no leader yet")

    def services(self) -> dict[str, Any]:
        """Every entry of this agent, by id."""
        found: dict[str, Any] = self._ask("GET", "/v1/agent/services") or {}
        return found

    def register(self, entry: dict[str, Any]) -> None:
        self._ask("PUT", "/v1/agent/service/register?replace-existing-checks=true", entry)

    def deregister(self, id_: str) -> None:
        """Nothing happens where there is no such entry."""
        with suppress(_Failed):
            self._ask("PUT", f"/v1/agent/service/deregister/{quote(id_, safe='')}")

    def tell(self, check_id: str, status: str, output: str) -> None:
        """Renew a TTL check. Raises Unknown when there is no such check."""
        path = f"/v1/agent/check/update/{quote(check_id, safe='')}"
        try:
            self._ask("PUT", path, {"Status": status, "Output": output})
        except _Failed as failed:
            # 404 today, 500 in Consul 1.8. Whatever else it is, registering again mends or names it.
            raise Unknown(str(failed)) from failed

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        try:
            status, answer = exchange(method, self._url + path, TIMEOUT_SECONDS, self._headers, data, self._tls)
        except (OSError, http.client.HTTPException) as error:
            raise Away(repr(error)) from error
        if status in (401, 403):
            raise Refused(answer.decode(errors="replace")[:200])
        if status >= 400:
            raise _Failed(f"{status}: {answer.decode(errors='replace')[:200]}")
        return json.loads(answer) if answer else None


class _Failed(Away):
    """It answers, but with an error."""


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.consul_ca_file or None)
    if settings.consul_certificate_file:
        context.load_cert_chain(settings.consul_certificate_file, settings.consul_key_file or None)
    return context
