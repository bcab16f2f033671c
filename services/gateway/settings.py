"""The settings of the gateway and of its rendered configuration, in addition to those of every process."""

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveInt, SecretStr, model_validator

from chassis.base.settings import Settings


def _network(text: str) -> str:
    ip_network(text, strict=False)
    return text


class GatewaySettings(Settings):
    kong_file: Path
    """The rendered declarative file. Reloaded on SIGHUP."""

    admin_host: str = "127.0.0.1"
    """Address of /status, /config and /metrics. Not public: the edge routes only the documentation there."""

    admin_token: SecretStr | None = None
    """Needed in Kong-Admin-Token to write and to see secrets. Without one the port is as open as Kong's."""

    admin_names: list[str] = Field(default_factory=list)
    """Host names by which this port may be called, beside localhost, `admin_host` and addresses."""

    admin_port: int = Field(ge=0, le=65535)
    """Port of the same."""

    tls_port: int = Field(default=0, ge=0, le=65535)
    """Port for HTTPS, beside HTTP on `port`. Used only with a certificate."""

    tls_certificate: Path | None = None
    """PEM file, with the chain."""

    tls_key: Path | None = None
    """PEM file. Belongs to `tls_certificate`."""

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


class Limits(BaseModel):
    """Requests per minute that the edge lets through."""

    model_config = ConfigDict(extra="forbid")

    enter: PositiveInt = 60
    """Per address, to register, log in and the like."""

    anonymous: PositiveInt = 1_200
    """Per address, to public endpoints."""

    token: PositiveInt = 1_200
    partner: PositiveInt = 6_000


class RenderSettings(Settings):
    """What `kong/kong.yml` is rendered with."""

    admin_host: str = "127.0.0.1"
    """Address of the gateway's admin port."""

    admin_port: int = Field(ge=0, le=65535)
    """The gateway's admin port: the documentation page's target."""

    partner_keys: list[SecretStr] = Field(default_factory=list)
    """API keys of partners' machines; two while one is being replaced."""

    rate_limits: Limits = Limits()
    """JSON; requests per minute: `enter` per address to register, log in and the like, `anonymous` per address to public endpoints,
    `token` per user and `partner` per partner."""

    edge_log: str = "/dev/stdout"
    """File for a line of each request; empty for none. Kong's workers run as another user, who cannot open /dev/stdout."""

    edge_docs: str | None = None
    """host:port with /openapi.json: the gateway's admin port unless set; empty for no such routes."""

    edge_console: str = ""
    """host:port of the console, whose pages are at /, /shop, /account and /staff; empty for no such routes."""

    edge_status: str | None = None
    """host:port of the edge's own /status: the gateway's admin port unless set. For Kong, that of KONG_STATUS_LISTEN."""

    weights_directory: Path | None = None
    """Folder of SERVICE.json, {"host:port": weight}: the service's targets while two releases of it share its requests."""

    operators: list[str] = Field(default=["127.0.0.0/8", "::1"])
    """Networks that may read /operations/status."""

    hsts_seconds: int = Field(default=31_536_000, ge=0)
    """How long browsers insist on https for this host name, on every port. 0 ends it."""
