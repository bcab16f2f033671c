"""Settings from the environment, read once. A service subclasses `Settings`."""

import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, cast

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.base import validation

T = TypeVar("T")


class Settings(BaseSettings):
    """Read from `SOUK_<NAME>`; dictionaries and lists are JSON."""

    model_config = SettingsConfigDict(env_prefix="SOUK_", extra="ignore", frozen=True)

    environment: str = "development"
    """`production` rejects settings that only suit a developer's machine."""

    host: str = "127.0.0.1"
    """Address to listen on."""

    port: int = 0
    """Of the API, or of health checks and metrics. 0: any free port."""

    threads: int = Field(default=8, ge=1, le=256)
    """Concurrent requests or tasks. Each may hold a database connection."""

    request_timeout_seconds: float = Field(default=9.0, gt=0)
    """For a request with all its calls. Must be below the edge's timeout."""

    version: str = ""
    """Of the release, for metrics."""

    log_level: str = "info"
    """debug, info, warning or error."""

    otlp_url: str = ""
    """http(s)://host:port of an OpenTelemetry receiver, whose /v1/traces takes OTLP over HTTP in JSON. Empty: no spans are made."""

    database_url: str = ""
    """postgresql://role:password@host:port/database; empty for a service without PostgreSQL."""

    replica_url: str = ""
    """postgresql://... of streaming replicas of the same database, for reads that may be a little old. Empty: the primary serves
    all. Needs `redis_url`."""

    replica_max_lag_seconds: float = Field(default=5.0, gt=0, le=60)
    """A replica that is further behind is not read."""

    mongo_url: str = ""
    """mongodb://host:port/database; empty for a service without MongoDB."""

    broker_url: str = ""
    """amqp://... (RabbitMQ), or redis://..., without delay queues and publisher confirms."""

    redis_url: str = ""
    """redis://[:password@]host:port/database, shared by all services: revocations, counters and caches."""

    data_folders: tuple[str, ...] = ()
    """Folders of the databases on this machine. Writes are refused when their disk is nearly full."""

    min_free_megabytes: int = Field(default=100, ge=0)
    """Of `data_folders`. Too little: the database stops before writes do."""

    discovery: Literal["", "consul", "kubernetes", "dns", "static"] = ""
    """How to find upstreams. Empty: Consul if `consul_url` is set, else `services`."""

    trusted_proxies: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks whose X-Forwarded-For is trusted. Too wide: clients can forge their address."""

    trusted_hops: int = Field(default=1, ge=1, le=10)
    """Proxies that append to X-Forwarded-For: 2 with a load balancer before the edge."""

    services: dict[str, str] = Field(default_factory=dict)
    """For static discovery: base URLs by upstream, separated by commas."""

    consul_url: str = ""
    """http(s)://host:port of a Consul agent."""

    consul_token: SecretStr = SecretStr("")
    """ACL token with read access to services and nodes."""

    consul_ca_file: str = ""
    """CA certificates for Consul; empty: the system's."""

    consul_certificate_file: str = ""
    """Client certificate for mutual TLS with Consul."""

    consul_key_file: str = ""
    """Its key."""

    internal_ca_file: str = ""
    """CA of our services' certificates. With it, upstreams are called by TLS only, and have to prove their name."""

    internal_certificate_file: str = ""
    """Certificate for our API, with its chain; empty: plain HTTP."""

    internal_key_file: str = ""
    """Its key."""

    trust_catalogue: bool = False
    """Send our API key also where anybody may have registered: to addresses from DNS, or from a Consul without `consul_token`."""

    kubernetes_url: str = ""
    """https://host:port of the API server; empty: that of the pod's cluster."""

    kubernetes_credentials: str = "/var/run/secrets/kubernetes.io/serviceaccount"
    """Folder with a service account's `token` and the API server's `ca.crt`; may list and watch EndpointSlices."""

    kubernetes_namespace: str = ""
    """Namespace of the upstreams' EndpointSlices; empty: that in the file `namespace` of the same folder."""

    kubernetes_zone: str = ""
    """Our zone, for EndpointSlices with hints. Empty: all zones are called."""

    discovery_name: str = "{service}:8000"
    """For discovery by DNS: host:port with {service} for the name."""

    keys_file: Path | None = None
    """JSON with keys (`chassis/security/keys.py`), reloaded when it changes; replaces the four settings below."""

    jwt_keys: dict[str, SecretStr] = Field(default_factory=dict)
    """By key id: a secret of 32 bytes or more (HS256), or a PEM, RSA (RS256) or Ed25519 (EdDSA). The first signs, all verify;
    public halves suffice for verifying."""

    jwt_issuer: str = "souk-users"
    """`iss` of access tokens."""

    jwt_audience: str = "souk"
    """`aud` of access tokens."""

    api_key: SecretStr = SecretStr("")
    """What this service sends to its upstreams."""

    api_callers: dict[str, str] = Field(default_factory=dict)
    """By service that may call this one: the SHA-256 (hex) of its API key."""

    failpoints_directory: str = ""
    """Where tests trigger failpoints (`chassis.base.failpoints`). Rejected in production."""

    @model_validator(mode="after")
    def _suits_its_environment(self) -> Self:
        if self.environment == "production" and self.failpoints_directory:
            raise ValueError("SOUK_FAILPOINTS_DIRECTORY must not be set in production.")
        if self.replica_url and not self.redis_url:
            raise ValueError(
                "SOUK_REPLICA_URL needs SOUK_REDIS_URL, which keeps what a caller must see of its own writes."
            )
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def are_networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ip_network(network)) for network in networks)

    _made: dict[Callable[..., Any], Any] = PrivateAttr(default_factory=dict)

    def once(self, make: Callable[[Self], T]) -> T:
        """`make(self)`, called once."""
        all_made = self._made  # slow to get from a model
        if make not in all_made:
            all_made[make] = make(self)
        made: T = all_made[make]
        return made

    @classmethod
    def current(cls) -> Self:
        """The process's settings. Ends it with a line per invalid variable."""
        if cls not in _CURRENT:
            _CURRENT[cls] = cls._read()
        return cast(Self, _CURRENT[cls])

    @classmethod
    def use(cls, **values: Any) -> Self:
        """Make these values, over the environment's, the current settings: for tests, which run several services in one process."""
        settings = cls(**values)
        _CURRENT[cls] = settings
        return settings

    def require(self, *names: str) -> None:
        """End the process with a line per empty setting."""
        missing = [name for name in names if not getattr(self, name)]
        for name in missing:
            print(f"SOUK_{name.upper()}: this process requires it", file=sys.stderr)
        if missing:
            raise SystemExit(1)

    @classmethod
    def _read(cls) -> Self:
        try:
            return cls()
        except ValidationError as error:
            for each in error.errors(include_url=False, include_input=False):
                name = "SOUK_" + "_".join(str(part).upper() for part in each["loc"][:1])
                print(f"{name}: {validation.message(each)}", file=sys.stderr)
            raise SystemExit(1) from None


_CURRENT: dict[type[Settings], Settings] = {}
