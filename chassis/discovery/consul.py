"""Consul's catalogue: each service that is asked for is watched by blocking queries of the health endpoint.

Works with Consul from 1.8 on. One request of one endpoint, so it is made with the HTTP library that calls are made with
anyway; why py-consul is not loaded for it is in docs/decisions/0025.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self
from urllib.parse import quote

import urllib3

from chassis.discovery.instance import Instance, base_url
from chassis.discovery.watch import Watches
from chassis.settings import Settings

PATIENCE_SECONDS = 30.0
"""How long Consul may keep a query while nothing changes."""

CONNECT_SECONDS, ANSWER_SECONDS = 1.0, 5.0


@dataclass(frozen=True)
class Agent:
    """A Consul agent and how to be let in."""

    url: str
    token: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.consul_url.rstrip("/"),
            settings.consul_token.get_secret_value(),
            settings.consul_ca_file,
            settings.consul_certificate_file,
            settings.consul_key_file,
        )

    def pool(self) -> urllib3.HTTPConnectionPool:
        tls = {"ca_certs": self.ca_file, "cert_file": self.certificate_file, "key_file": self.key_file}
        given = {name: value for name, value in tls.items() if value} if self.url.startswith("https") else {}
        return urllib3.connection_from_url(self.url, retries=False, **given)


@lru_cache
def catalogue(agent: Agent) -> Watches:
    """The process's one view of that agent's catalogue."""
    return Watches(lambda service: Query(agent, service).ask, PATIENCE_SECONDS)


class Query:
    """The blocking query for one service. Consul's index says from which state on it waits for another."""

    def __init__(self, agent: Agent, service: str) -> None:
        self._pool = agent.pool()
        self._path = f"/v1/health/service/{quote(service, safe='')}?passing=1"
        self._headers = {"X-Consul-Token": agent.token} if agent.token else {}
        self._index = 0

    def ask(self, patience_seconds: float) -> Sequence[Instance]:
        # Consul adds up to a sixteenth of the wait, so that not all queries end at once.
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=patience_seconds * 17 / 16 + ANSWER_SECONDS)
        path = f"{self._path}&index={self._index}&wait={round(patience_seconds * 1000)}ms"
        index, self._index = self._index, 0
        answer = self._pool.request("GET", path, headers=self._headers, timeout=timeout)
        if answer.status != 200:
            raise ConnectionError(f"Consul answered {answer.status}: {answer.data[:200]!r}")
        found = [_instance(entry) for entry in json.loads(answer.data)]
        following = int(answer.headers.get("X-Consul-Index", 0))
        # An index that went back is another Consul's, or a wiped one's: the next query starts afresh, as Consul advises.
        self._index = following if following >= index else 0
        return found


def _instance(entry: Mapping[str, Any]) -> Instance:
    service = entry["Service"]
    meta = service.get("Meta") or {}
    host = service["Address"] or entry["Node"]["Address"]
    weight = (service.get("Weights") or {}).get("Passing", 1)
    url = base_url(host, service["Port"], meta.get("scheme", "http"))
    return Instance(service["ID"], url, max(int(weight), 1), meta.get("version", ""))
