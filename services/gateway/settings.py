"""What the gateway is told by its environment, beside what every process is."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from chassis.base.settings import Settings


def _network(text: str) -> str:
    ip_network(text, strict=False)
    return text


class GatewaySettings(Settings):
    kong_file: Path
    """The declarative file, already rendered. Read again on SIGHUP."""

    admin_host: str = "127.0.0.1"
    """Where /status, /config and /metrics are served. Not for the public: the edge routes only the documentation there."""

    admin_port: int = Field(ge=0, le=65535)

    tls_port: int = Field(default=0, ge=0, le=65535)
    """Where HTTPS comes in, beside HTTP on `port`. Used with a certificate only."""

    tls_certificate: Path | None = None
    tls_key: Path | None = None
    """PEM files, the certificate with its chain."""

    trusted_ips: list[Annotated[str, AfterValidator(_network)]] = Field(default_factory=list)
    """Addresses or networks of proxies in front: from them, X-Forwarded-* and `real_ip_header` are believed."""

    real_ip_header: str = "X-Real-IP"
    """In which header a trusted proxy tells the client's address."""

    dns_server: str = ""
    """host:port of the name server asked for targets' names; empty for the system's."""

    idle_connections: int = Field(default=64, ge=0)
    """Connections kept open to each target while unused. 0 opens one per request, which doubles a request's cost."""

    target_connections: int = Field(default=256, ge=1)
    """In use at once to each target; requests beyond wait for their turn. More than the target's server takes, and they wait there."""

    head_seconds: float = Field(default=10, gt=0)
    """In which a request's head must have come, from its first byte. Long ones let slow clients hold connections for nothing."""

    body_seconds: float = Field(default=10, gt=0)
    """Longest pause within a body, and how long a body may take beside a second for each 1,000 bytes of it."""

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        return self
