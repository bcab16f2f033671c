"""One instance of a service."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instance:
    id: str
    url: str
    """Scheme, host and port, without a trailing slash."""

    weight: int = 1
    """Relative share of the traffic."""

    version: str = ""


def base_url(host: str, port: int, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
