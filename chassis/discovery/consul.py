"""Consul's catalogue, by blocking queries. Needs Consul 1.8 or later. Why no client library: docs/decisions/0025."""

import ssl
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import urllib3

from chassis.base.parsing import parse_json
from chassis.discovery.agent import Agent
from chassis.discovery.instance import Instance, base_url
from chassis.discovery.usable import usable
from chassis.discovery.watch import Watches

__all__ = ["Agent", "catalogue"]

WAIT_SECONDS = 30.0
"""How long Consul may hold a query."""

CONNECT_SECONDS, RESPONSE_SECONDS = 1.0, 5.0


@lru_cache
def catalogue(agent: Agent) -> Watches:
    return Watches(lambda service: Query(agent, service).fetch, WAIT_SECONDS)


class Query:
    """Consul responds once its state has passed our index."""

    def __init__(self, agent: Agent, service: str) -> None:
        def pool(tls: ssl.SSLContext | None) -> urllib3.HTTPConnectionPool:
            given = {} if tls is None else {"ssl_context": tls}
            return urllib3.connection_from_url(agent.url, retries=False, **given)

        self._pool = agent.with_tls(pool)
        self._path = f"/v1/health/service/{quote(service, safe='')}"
        self._headers = agent.headers
        self._index = 0

    def fetch(self, wait_seconds: float) -> Sequence[Instance]:
        # Consul adds up to 1/16 as jitter.
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=wait_seconds * 17 / 16 + RESPONSE_SECONDS)
        path = f"{self._path}?index={self._index}&wait={round(wait_seconds * 1000)}ms"
        index, self._index = self._index, 0
        response = self._pool().request("GET", path, headers=self._headers, timeout=timeout)
        if response.status != 200:
            raise ConnectionError(f"Consul responded {response.status}: {response.data[:200]!r}")
        found = [_instance(entry) for entry in usable(parse_json(response.data))]
        following = int(response.headers.get("X-Consul-Index", 0))
        # Consul's advice: start over when the index decreases.
        self._index = following if following >= index else 0
        return found


def _instance(entry: Mapping[str, Any]) -> Instance:
    service = entry["Service"]
    meta = service.get("Meta") or {}
    host = service["Address"] or entry["Node"]["Address"]
    weight = (service.get("Weights") or {}).get("Passing", 1)
    url = base_url(host, service["Port"], meta.get("scheme", "http"))
    return Instance(service["ID"], url, max(int(weight), 1), meta.get("version", ""))
