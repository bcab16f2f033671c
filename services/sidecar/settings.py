"""A sidecar's settings. Every invalid one is reported, on a line of its own."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Settings(NamedTuple):
    service: str
    """users, products, ..."""

    instance: str
    """Such as users-web-2. It is the id of the entry, and survives restarts and moves."""

    instance_url: str
    """As others reach it."""

    consul_url: str
    """http(s)://host:port of a Consul agent."""

    consul_token: str = ""
    """ACL token with `service:write` for the service, and `node:read` and `agent:read`."""

    consul_ca_file: str = ""
    """CA certificates for Consul; empty: the system's."""

    consul_certificate_file: str = ""
    """Client certificate for mutual TLS with Consul."""

    consul_key_file: str = ""
    """Its key."""

    internal_ca_file: str = ""
    """CA of the instance's certificate, where `instance_url` is https."""

    host: str = "127.0.0.1"
    """Address of its health checks and metrics."""

    port: int = 0
    """Their port. 0 lets the system choose."""

    proxy_port: int = 0
    """Where the instance's Connect proxy listens, at the instance's address. 0: it has none."""

    version: str = ""
    """Of the release, for the catalogue."""

    weight: int = 1
    """Share of the traffic, relative to other instances."""

    tags: str = ""
    """Separated by commas."""

    heartbeat_seconds: float = 1.0
    """Up to this long an unhealthy instance still gets traffic."""

    ttl_seconds: float = 10.0
    """Without a heartbeat for this long the instance counts as unhealthy. Allow for several missed ones."""

    check_seconds: float = 2.0
    """Between Consul's own probes."""

    drain_seconds: float = 10.0
    """For the requests in flight of a stopping instance."""

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.instance_url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("must be http(s)://host:port")
    return value.rstrip("/")


def _number(kind: Callable[[str], Any], minimum: float) -> Callable[[str], Any]:
    def read(value: str) -> Any:
        try:
            number = kind(value)
        except ValueError:
            raise ValueError("must be a number") from None
        if not minimum <= number < 1e6:
            raise ValueError(f"must be at least {minimum:g}")
        return number

    return read


_READERS: Mapping[str, Callable[[str], Any]] = {
    "instance_url": _url,
    "consul_url": _url,
    "port": _number(int, 0),
    "proxy_port": _number(int, 0),
    "weight": _number(int, 1),
    "heartbeat_seconds": _number(float, 0.05),
    "ttl_seconds": _number(float, 1),
    "check_seconds": _number(float, 0.1),
    "drain_seconds": _number(float, 0),
}
_REQUIRED = ("service", "instance", "instance_url", "consul_url")


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    values: dict[str, Any] = {}
    errors = []
    for name in Settings._fields:
        variable = f"SOUK_{name.upper()}"
        text = environment.get(variable, "")
        if not text:
            errors += [f"{variable}: is required"] if name in _REQUIRED else []
            continue
        try:
            values[name] = _READERS.get(name, str)(text)
        except ValueError as error:
            errors.append(f"{variable}: {error}")
    if errors:
        print("\n".join(errors), file=sys.stderr)
        raise SystemExit(1)
    return Settings(**values)
