"""Calls from service to service: bounded in time, with our API key and the trace, and errors that are honest to our caller."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3
from structlog import get_logger
from urllib3.exceptions import HTTPError

from chassis import discovery, telemetry
from chassis.problems import Problem, Unavailable
from chassis.settings import Settings

log = get_logger(__name__)

CONNECT_TIMEOUT_SECONDS = 0.5
READ_TIMEOUT_SECONDS = 2.0

_pool = urllib3.PoolManager(maxsize=16, block=False, retries=False)


class BadAnswer(Problem):
    type, status, title = "/problems/bad-gateway", 502, "A neighbour answered with nonsense"


class NotThere(BadAnswer):
    """The neighbour does not have what was asked for (404): for some callers that is an answer."""


class Client:
    """Calls to one neighbouring service."""

    def __init__(self, service: str) -> None:
        self.service = service

    def get(self, path: str, query: Mapping[str, Any], settings: Settings) -> Any:
        """The JSON answer. A GET is safe, so a lost connection is tried once more.

        Raises Unavailable when the neighbour is away, slow or failing, NotThere when it does not have that, BadAnswer when it
        refuses or talks nonsense.
        """
        url = f"{discovery.locate(self.service, settings)}{path}?{urlencode(query, doseq=True)}"
        headers = {"X-API-Key": settings.api_key.get_secret_value(), "traceparent": telemetry.traceparent()}
        try:
            response = _pool.request(
                "GET",
                url,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS),
                retries=urllib3.Retry(total=1, redirect=0, backoff_factor=0.05),
            )
        except HTTPError as error:
            log.warning("neighbour away", neighbour=self.service, error=repr(error))
            raise Unavailable(f"The {self.service} service does not answer.") from error
        if response.status >= 500:
            raise Unavailable(f"The {self.service} service is failing.")
        if response.status == 404:
            raise NotThere(f"The {self.service} service does not have it.")
        if response.status != 200:
            log.error("neighbour refused", neighbour=self.service, status=response.status, path=path)
            raise BadAnswer(f"The {self.service} service refused our request.")
        try:
            return json.loads(response.data)
        except ValueError as error:
            raise BadAnswer(f"The {self.service} service did not answer in JSON.") from error
