"""Consul's catalogue: instances and their health."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from launcher import running
from launcher.manifests import SERVICES
from launcher.stack import Stack


@dataclass(frozen=True)
class Entry:
    service: str
    instance: str
    address: str
    version: str
    failing: Sequence[str]
    """Name and output of each."""

    is_alive: bool
    """False with a critical check."""


def read(stack: Stack) -> list[Entry]:
    """Raises LaunchError when Consul is unavailable."""
    # Its import takes half a second.
    import consul

    url, environment = stack.url("consul"), {**stack.installation.environment, **stack.credentials("")}

    parts = urlsplit(url)
    certificate = (environment.get("SOUK_CONSUL_CERTIFICATE_FILE", ""), environment.get("SOUK_CONSUL_KEY_FILE", ""))
    client = consul.Consul(
        host=parts.hostname,
        port=parts.port or (443 if parts.scheme == "https" else 8500),
        scheme=parts.scheme,
        token=environment.get("SOUK_CONSUL_TOKEN"),
        verify=environment.get("SOUK_CONSUL_CA_FILE") or True,
        cert=certificate if certificate[0] else None,
        connections_timeout=3,
    )
    try:
        return [_entry(each) for service in SERVICES for each in client.health.service(service)[1]]
    except (OSError, consul.ConsulException) as error:
        raise running.unavailable(stack, "consul") from error


def _entry(found: Mapping[str, Any]) -> Entry:
    service, checks = found["Service"], found["Checks"]
    address = service["Address"] or found["Node"]["Address"]
    failing = [f"{each['Name']}: {_line(each['Output'])}" for each in checks if each["Status"] != "passing"]
    version = (service.get("Meta") or {}).get("version", "")
    is_alive = all(each["Status"] != "critical" for each in checks)
    return Entry(service["Service"], service["ID"], f"{address}:{service['Port']}", version, failing, is_alive)


def _line(output: str) -> str:
    return " ".join(output.split())[:100] or "no output yet"
