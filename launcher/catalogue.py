"""Consul's catalogue as it stands: which instances of our services it knows, and what their checks say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from launcher.errors import LaunchError
from launcher.services import SERVICES


@dataclass(frozen=True)
class Entry:
    service: str
    instance: str
    address: str
    version: str
    wrong: Sequence[str]
    """What its failing checks say; empty for a healthy one."""
    is_alive: bool
    """False for one with a critical check: nobody calls it."""


def read(url: str, environment: Mapping[str, str]) -> list[Entry]:
    """Every instance of every service of ours. Raises LaunchError when Consul does not answer."""
    # With requests below it, it takes half a second to import, which no other command should wait for.
    import consul

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
        raise LaunchError(f"Consul at {url} does not say its catalogue: {str(error)[:200]}") from error


def _entry(found: Mapping[str, Any]) -> Entry:
    service, checks = found["Service"], found["Checks"]
    address = service["Address"] or found["Node"]["Address"]
    wrong = [f"{each['Name']}: {_line(each['Output'])}" for each in checks if each["Status"] != "passing"]
    version = (service.get("Meta") or {}).get("version", "")
    is_alive = all(each["Status"] != "critical" for each in checks)
    return Entry(service["Service"], service["ID"], f"{address}:{service['Port']}", version, wrong, is_alive)


def _line(output: str) -> str:
    return " ".join(output.split())[:100] or "nothing heard yet"
