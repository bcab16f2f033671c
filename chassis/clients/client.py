"""Calls to another service."""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from structlog import get_logger

from chassis import discovery
from chassis.base import tracing
from chassis.base.parsing import parse_json
from chassis.base.problems import Problem, Unavailable
from chassis.base.settings import Settings
from chassis.clients import credentials, metrics
from chassis.clients.failures import BadResponse, NotThere, Refused, TooSlow
from chassis.clients.peers import Request, Response, retry_after
from chassis.clients.policy import Policy
from chassis.clients.upstream import Upstream

log = get_logger(__name__)


class Client:
    """Connects at first use."""

    def __init__(self, service: str, policy: Policy | None = None) -> None:
        self.service = service
        self._policy = policy or Policy()
        self._upstream: Upstream | None = None
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, Any], settings: Settings, **headers: str) -> Any:
        """The response's JSON, if any. Raises the Problems in `failures`."""
        api_key = self._api_key(settings)
        sent = {
            # An empty key would be refused.
            **({"X-API-Key": api_key} if api_key else {}),
            **_context(),
            "Accept": "application/json",
            **headers,
        }
        request = Request(f"{path}?{urlencode(query, doseq=True)}" if query else path, sent)
        upstream = self._wired(settings)
        started, outcome = time.perf_counter(), "unavailable"
        try:
            content = self._parsed(upstream.call(request))
            outcome = "ok"
            return content
        except Problem as problem:
            outcome = _OUTCOMES.get(type(problem), outcome)
            raise
        finally:
            metrics.SECONDS.labels(self.service).observe(time.perf_counter() - started, tracing.exemplar())
            metrics.CALLS.labels(self.service, outcome).inc()

    def send(self, request: Request, settings: Settings) -> Response:
        """For a person, without our API key: any response below 500. Raises Unavailable, TooSlow."""
        return self._wired(settings).call(replace(request, headers={**_context(), **request.headers}))

    def _api_key(self, settings: Settings) -> str:
        """Raises Refused rather than hand it to whoever registered as the service."""
        api_key = credentials.api_key(settings)
        is_safe = settings.trust_catalogue or settings.internal_ca_file or discovery.is_authenticated(settings)
        if api_key and not is_safe:
            log.error(
                "API key withheld: anybody may register in this catalogue",
                upstream=self.service,
                cure="set SOUK_CONSUL_TOKEN, or SOUK_TRUST_CATALOGUE=true where the network is trusted",
            )
            raise Refused(f"The {self.service} service cannot be authenticated.")
        return api_key

    def _parsed(self, response: Response) -> Any:
        if response.status == 429:
            raise Unavailable(f"The {self.service} service is overloaded.", retry_after(response.headers))
        if response.status in (404, 410):
            raise NotThere(f"The {self.service} service found nothing.")
        if not 200 <= response.status < 300:
            log.error("request rejected by upstream", upstream=self.service, status=response.status)
            raise Refused(f"The {self.service} service rejected our request.")
        try:
            return parse_json(response.data) if response.data else None
        except ValueError as error:
            raise BadResponse(f"The {self.service} service did not respond with JSON.") from error

    def _wired(self, settings: Settings) -> Upstream:
        # Only tests have several Settings.
        with self._lock:
            if self._upstream is None or self._upstream.settings is not settings:
                self._upstream = Upstream(self.service, self._policy, settings)
            return self._upstream


def _context() -> dict[str, str]:
    """Whose work it is. Each try adds its traceparent."""
    correlation_id = tracing.correlation_id()
    return {"X-Correlation-ID": correlation_id} if correlation_id else {}


_OUTCOMES: dict[type[Problem], str] = {
    Refused: "refused",
    NotThere: "not_there",
    TooSlow: "slow",
    BadResponse: "invalid",
}
