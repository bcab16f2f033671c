"""One running copy of a service, as discovery knows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instance:
    id: str
    url: str
    """Where it listens: scheme, host and port, without a trailing slash."""

    weight: int = 1
    """Its share of the traffic, relative to the others'."""

    version: str = ""


def base_url(host: str, port: int, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
