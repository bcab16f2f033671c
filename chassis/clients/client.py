"""A call to a neighbouring service, from the question to the answer or to an honest Problem."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from structlog import get_logger

from chassis.base import telemetry
from chassis.base.problems import Problem, Unavailable
from chassis.base.settings import Settings
from chassis.clients import credentials, metrics
from chassis.clients.failures import BadAnswer, NotThere, Refused, TooSlow
from chassis.clients.peers import Answer, Request, retry_after
from chassis.clients.policy import Policy
from chassis.clients.upstream import Upstream

log = get_logger(__name__)

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""What HTTP itself calls idempotent; anything else is with an Idempotency-Key."""


class Client:
    """Calls to one upstream. One for each upstream and process, made at import; it connects at first use."""

    def __init__(self, service: str, policy: Policy | None = None) -> None:
        self.service = service
        self._policy = policy or Policy()
        self._upstream: Upstream | None = None
        self._lock = threading.Lock()

    def get(self, path: str, query: Mapping[str, Any], settings: Settings, **headers: str) -> Any:
        """The JSON answer. Raises Unavailable, TooSlow, Refused, NotThere or BadAnswer: see `failures`."""
        return self.send("GET", f"{path}?{urlencode(query, doseq=True)}" if query else path, settings, headers=headers)

    def send(
        self,
        method: str,
        target: str,
        settings: Settings,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer to any request; None where there is no content. `body` is sent as JSON.

        A POST is tried again only with an `Idempotency-Key` among `headers`, or when it cannot have been heard.
        """
        api_key = credentials.api_key(settings)
        sent = {
            # A key that is empty would be refused where none at all is welcome.
            **({"X-API-Key": api_key} if api_key else {}),
            "traceparent": telemetry.traceparent(),
            "Accept": "application/json",
            **({} if body is None else {"Content-Type": "application/json"}),
            **(headers or {}),
        }
        data = None if body is None else json.dumps(body).encode()
        request = Request(method, target, sent, data, method in REPEATABLE or "Idempotency-Key" in sent)
        upstream = self._wired(settings)
        started, outcome = time.perf_counter(), "unavailable"
        try:
            answer = self._parsed(upstream.call(request))
            outcome = "answered"
            return answer
        except Problem as problem:
            outcome = _OUTCOMES.get(type(problem), outcome)
            raise
        finally:
            metrics.SECONDS.labels(self.service).observe(time.perf_counter() - started)
            metrics.CALLS.labels(self.service, outcome).inc()

    def _parsed(self, answer: Answer) -> Any:
        if answer.status == 429:
            raise Unavailable(f"The {self.service} service has too much to do.", retry_after(answer.headers))
        if not 200 <= answer.status < 300:
            is_gone = answer.status in (404, 410)
            if not is_gone:
                log.error("upstream refused", upstream=self.service, status=answer.status)
            kind = NotThere if is_gone else Refused
            raise kind(f"The {self.service} service refused our request.", answer.status)
        try:
            return json.loads(answer.data) if answer.data else None
        except ValueError as error:
            raise BadAnswer(f"The {self.service} service did not answer in JSON.") from error

    def _wired(self, settings: Settings) -> Upstream:
        # A process has one Settings for all its life; tests have several.
        upstream = self._upstream
        if upstream is None or upstream.settings is not settings:
            with self._lock:
                upstream = self._upstream
                if upstream is None or upstream.settings is not settings:
                    upstream = self._upstream = Upstream(self.service, self._policy, settings)
        return upstream


_OUTCOMES: dict[type[Problem], str] = {
    Refused: "refused",
    NotThere: "not_there",
    TooSlow: "slow",
    BadAnswer: "nonsense",
}
