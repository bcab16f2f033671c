"""Kubernetes EndpointSlices, by list and watch, which the service account must be allowed. Why no client library: docs/decisions/0046."""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import urllib3

from chassis.base.parsing import parse_json
from chassis.discovery.api_server import LOST, APIServer
from chassis.discovery.instance import Instance, base_url
from chassis.discovery.pauses import Pauses
from chassis.discovery.slices import Slices
from chassis.discovery.watch import Watches

__all__ = ["APIServer", "endpoint_slices"]

WAIT_SECONDS = 60.0
"""How long the API server may hold a watch."""

CONNECT_SECONDS, RESPONSE_SECONDS = 1.0, 5.0


@lru_cache
def endpoint_slices(api: APIServer) -> Watches:
    return Watches(lambda service: Query(api, service).fetch, WAIT_SECONDS)


class Query:
    """Lists at first, and then watches from where the last watch ended."""

    def __init__(self, api: APIServer, service: str, sleep: Callable[[float], object] = time.sleep) -> None:
        self._pool = api.with_tls(lambda tls: urllib3.connection_from_url(api.url, retries=False, ssl_context=tls))
        self._api, self._service, self._sleep = api, service, sleep
        self.slices, self._pauses = Slices(api.zone), Pauses()

    def fetch(self, wait_seconds: float) -> Sequence[Instance]:
        before = self.slices.version
        if before:
            self._sleep(self._pauses.seconds())
            with self._pauses.watch(self.slices, wait_seconds):
                self._watch(wait_seconds)
        # Not even a bookmark: the server may have been restored to before our version.
        if self.slices.version in ("", before):
            self._list()
        return [Instance(each.id, base_url(each.host, each.port)) for each in self.slices.endpoints()]

    def _list(self) -> None:
        response = self._get(self._api.path(self._service), RESPONSE_SECONDS)
        if response.status != 200:
            raise ConnectionError(f"The API server responded {response.status}: {response.read(200)!r}")
        self.slices.replace(parse_json(response.data))

    def _watch(self, wait_seconds: float) -> None:
        path = self._api.path(self._service, watch_from=self.slices.version, wait_seconds=wait_seconds)
        response = self._get(path, wait_seconds + RESPONSE_SECONDS)
        try:
            if response.status != 200:
                self.slices.version = ""
                if response.status not in LOST:
                    raise ConnectionError(f"The API server responded {response.status}: {response.read(200)!r}")
                return
            for line in response:
                if self.slices.apply(parse_json(line)):
                    return
        finally:
            response.close()

    def _get(self, path: str, seconds: float) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=seconds)
        return self._pool().request("GET", path, headers=self._api.headers, timeout=timeout, preload_content=False)
