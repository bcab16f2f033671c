"""What a process is told by its environment, read once. A service subclasses `Settings` with what only it needs."""

import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

T = TypeVar("T")


class Settings(BaseSettings):
    """Settings every process has. Each is read from `SOUK_<NAME>`; dictionaries are JSON."""

    model_config = SettingsConfigDict(env_prefix="SOUK_", extra="ignore", frozen=True)

    environment: str = "development"
    """`production` refuses what only suits a developer's machine."""

    host: str = "127.0.0.1"
    port: int = 0
    """Where this process listens: its API, or its health and metrics. 0 lets the system choose."""

    threads: int = Field(default=8, ge=1, le=256)
    """Requests (or tasks) one process works on at once. Each may hold one database connection."""

    request_timeout_seconds: float = Field(default=9.0, gt=0)
    """For one request with all its calls, less if its caller says so. Below the edge's own patience, so that it hears an answer."""

    log_level: str = "info"

    database_url: str = ""
    """postgresql://role:password@host:port/database of this service; empty for a service without one."""

    mongo_url: str = ""
    broker_url: str = ""
    """amqp://... (RabbitMQ), or redis://... which has neither delay queues nor publisher confirms."""

    redis_url: str = ""

    discovery: Literal["", "consul", "kubernetes", "dns", "static"] = ""
    """How upstreams are found; empty: by Consul where there is one, else at fixed addresses."""

    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks of the edge (JSON list). Only its word about whom it was called by is believed; too wide, and clients choose
    the address that they are throttled by."""

    trusted_hops: int = Field(default=1, ge=1, le=10)
    """Proxies before this service that each append to X-Forwarded-For: more than the edge where a load balancer is before it."""

    services: dict[str, str] = Field(default_factory=dict)
    """For fixed addresses: base URL of each upstream by name, or several separated by commas."""

    consul_url: str = ""
    """http(s)://host:port of a Consul agent."""

    consul_token: SecretStr = SecretStr("")
    """ACL token that may read services and nodes, where Consul asks for one."""

    consul_ca_file: str = ""
    """Certificates that vouch for Consul's own; empty: the system's."""

    consul_certificate_file: str = ""
    consul_key_file: str = ""
    """What this process shows to a Consul that wants to know its clients."""

    kubernetes_namespace: str = ""
    """Where the upstreams' EndpointSlices are; empty: in the pod's own namespace."""

    discovery_name: str = "{service}:8000"
    """For discovery by DNS: host:port, in which {service} stands for the service's name."""

    keys_file: Path | None = None
    """JSON with the keys below (`chassis/security/keys.py`), read again when it changes; without it those below hold, for good."""

    jwt_keys: dict[str, SecretStr] = Field(default_factory=dict)
    """By key id: a secret of 32 bytes or more (HS256), or a PEM of an RSA (RS256) or Ed25519 key (EdDSA), of which all but
    the issuer need only the public half. The first signs, all verify."""

    jwt_issuer: str = "souk-users"
    jwt_audience: str = "souk"

    api_key: SecretStr = SecretStr("")
    """What this service shows to its upstreams."""

    api_callers: dict[str, str] = Field(default_factory=dict)
    """SHA-256 (hex) of the API key of each service that may call this one."""

    failpoints_directory: str = ""
    """Where tests arm crash points (`chassis.base.failpoints`). Not in production."""

    @model_validator(mode="after")
    def _suits_its_environment(self) -> Self:
        if self.environment == "production" and self.failpoints_directory:
            raise ValueError("SOUK_FAILPOINTS_DIRECTORY has no business in production.")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(network)) for network in networks)

    _made: dict[Callable[..., Any], Any] = PrivateAttr(default_factory=dict)

    def once(self, make: Callable[[Self], T]) -> T:
        """What `make` gives for these settings, made at first use."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made

    @classmethod
    def current(cls) -> Self:
        """The settings of this process. Ends the process with one line per wrong variable."""
        if cls not in _CURRENT:
            _CURRENT[cls] = cls._read()
        return cast(Self, _CURRENT[cls])

    @classmethod
    def use(cls, **values: Any) -> Self:
        """Make these values, over the environment's, the current settings: a test runs several services in one process."""
        settings = cls(**values)
        _CURRENT[cls] = settings
        return settings

    def demand(self, *names: str) -> None:
        """End the process with one line per setting of `names` that is empty."""
        missing = [name for name in names if not getattr(self, name)]
        for name in missing:
            print(f"SOUK_{name.upper()}: this process needs it", file=sys.stderr)
        if missing:
            raise SystemExit(1)

    @classmethod
    def _read(cls) -> Self:
        try:
            return cls()
        except ValidationError as error:
            for wrong in error.errors():
                name = "SOUK_" + "_".join(str(part).upper() for part in wrong["loc"][:1])
                print(f"{name}: {wrong['msg']}", file=sys.stderr)
            raise SystemExit(1) from None


_CURRENT: dict[type[Settings], Settings] = {}
