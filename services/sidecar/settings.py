"""What a sidecar is told by its environment, read once. Wrong or missing: one line for each, and it ends."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Settings(NamedTuple):
    service: str
    """The name under which the instance is found: users, products, ..."""

    instance: str
    """The instance's own name, which it keeps over restarts and moves: users-web-2. Its entry's id in Consul."""

    instance_url: str
    """Where the instance listens: scheme, host and port as others reach it."""

    consul_url: str
    consul_token: str = ""
    """ACL token with `service:write` for the service, and `node:read` and `agent:read`."""

    consul_ca_file: str = ""
    consul_certificate_file: str = ""
    consul_key_file: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    """Where it says its own state; 0 lets the system choose."""

    version: str = ""
    weight: int = 1
    tags: str = ""
    """More tags, separated by commas."""

    beat_seconds: float = 1.0
    """How often the instance is looked at and Consul told. Longer: traffic goes on to what is ill for that time."""

    ttl_seconds: float = 10.0
    """After so long without a word from us Consul takes the instance for ill. Several beats, or a hiccup is an illness."""

    check_seconds: float = 2.0
    """How often Consul looks at the instance by itself."""

    drain_seconds: float = 10.0
    """How long an instance that is to go may take to answer what it has in hand."""

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.instance_url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("is no http(s)://host:port")
    return value.rstrip("/")


def _number(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def read(value: str) -> Any:
        try:
            number = kind(value)
        except ValueError:
            raise ValueError("is no number") from None
        if not least <= number < 1e6:
            raise ValueError(f"must be at least {least:g}")
        return number

    return read


_READERS: Mapping[str, Callable[[str], Any]] = {
    "instance_url": _url,
    "consul_url": _url,
    "port": _number(int, 0),
    "weight": _number(int, 1),
    "beat_seconds": _number(float, 0.05),
    "ttl_seconds": _number(float, 1),
    "check_seconds": _number(float, 0.1),
    "drain_seconds": _number(float, 0),
}
_NEEDED = ("service", "instance", "instance_url", "consul_url")


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    values: dict[str, Any] = {}
    wrong = []
    for name in Settings._fields:
        variable = f"SOUK_{name.upper()}"
        given = environment.get(variable, "")
        if not given:
            wrong += [f"{variable}: a sidecar needs it"] if name in _NEEDED else []
            continue
        try:
            values[name] = _READERS.get(name, str)(given)
        except ValueError as error:
            wrong.append(f"{variable}: {error}")
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        raise SystemExit(1)
    return Settings(**values)
