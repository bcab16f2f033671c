"""The gateway's settings, in addition to those of every process."""

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
    """The rendered declarative file. Reloaded on SIGHUP."""

    admin_host: str = "127.0.0.1"
    """Address of /status, /config and /metrics. Not public: the edge routes only the documentation there."""

    admin_port: int = Field(ge=0, le=65535)

    tls_port: int = Field(default=0, ge=0, le=65535)
    """Port for HTTPS, beside HTTP on `port`. Used only with a certificate."""

    tls_certificate: Path | None = None
    tls_key: Path | None = None
    """PEM files, the certificate with its chain."""

    trusted_ips: list[Annotated[str, AfterValidator(_network)]] = Field(default_factory=list)
    """Addresses or networks of proxies in front, whose X-Forwarded-* and `real_ip_header` are trusted."""

    real_ip_header: str = "X-Real-IP"
    """Header in which a trusted proxy sends the client's address."""

    dns_server: str = ""
    """host:port of the name server for targets' names; empty for the system's."""

    idle_connections: int = Field(default=64, ge=0)
    """Idle connections kept open to each target. 0 opens one per request, which doubles a request's cost."""

    target_connections: int = Field(default=256, ge=1)
    """Concurrent connections to each target; further requests wait. Too many, and they wait in the target's backlog instead."""

    head_seconds: float = Field(default=10, gt=0)
    """Time for a request's head, from its first byte. The longer, the more connections slow clients can hold."""

    body_seconds: float = Field(default=10, gt=0)
    """Longest pause within a body, and the time for a whole body in addition to one second per 1,000 bytes."""

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together")
        return self
