"""One instance of a service."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instance:
    id: str
    url: str
    """Without a trailing slash."""

    weight: int = 1
    """Relative share of traffic."""

    version: str = ""


def base_url(host: str, port: int, scheme: str = "http") -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
