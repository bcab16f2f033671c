"""Healthy instances from Consul, by blocking queries."""

from urllib.parse import quote, urlsplit

from chassis.base.parsing import parse_json
from chassis.discovery.agent import Agent
from chassis.discovery.usable import usable
from services.gateway.discovery.names import Address
from services.gateway.wire.fetch import fetch

DOMAIN = ".service.consul"
RESPONSE_SECONDS = 30.0


class Query:
    """Consul responds once its state has passed our index."""

    def __init__(self, agent: Agent, name: str) -> None:
        """name: SERVICE.service.consul."""
        self._agent, self._base, self._tls = agent, urlsplit(agent.url), agent.with_tls(lambda tls: tls)
        self._path = f"/v1/health/service/{quote(name.removesuffix(DOMAIN), safe='')}"
        self._index = 0

    async def fetch(self, wait_seconds: float) -> list[Address]:
        index, self._index, tls = self._index, 0, self._tls()
        response = await fetch(
            "GET",
            self._base.hostname or "",
            self._base.port or (443 if tls else 8500),
            f"{self._path}?index={index}&wait={round(wait_seconds * 1000)}ms",
            timeout_seconds=wait_seconds + RESPONSE_SECONDS,
            headers=[*self._agent.headers.items()],
            tls=tls,
        )
        if response.status != 200:
            raise ConnectionError(f"Consul responded {response.status}")
        found = [_address(entry) for entry in usable(parse_json(response.body))]
        sent = response.header("x-consul-index")
        following = int(sent) if sent and sent.isdecimal() else 0
        # As Consul requires, start over when it goes backwards.
        self._index = following if following >= index else 0
        return found


def _address(entry: dict[str, dict[str, object]]) -> Address:
    service, node = entry["Service"], entry["Node"]
    weights = service.get("Weights")
    weight = weights.get("Passing") if isinstance(weights, dict) else None
    return Address(
        str(service["Address"] or node["Address"]),
        int(str(service["Port"])),
        # Consul's default: use the target's own weight.
        int(weight) if weight is not None and int(weight) != 1 else None,
    )
