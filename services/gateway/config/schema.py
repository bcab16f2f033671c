"""Kong's declarative format, as far as executed here."""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from services.gateway.config.healthchecks import HealthChecks
from services.gateway.config.paths import BadPath, normalise
from services.gateway.config.patterns import compile_path

MAX_PORT = 65535
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]
Milliseconds = Annotated[int, Field(ge=1, le=2**31 - 2)]
Method = Annotated[str, Field(pattern=r"^[A-Z]+$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_!#$%&'*+.^`|~-]+$")]
Reference = str
"""Name or id of an entity; once loaded, always the id."""


def _path(path: str) -> str:
    if not path.startswith(("/", "~/")):
        raise ValueError("should start with: / (fixed path) or ~/ (regex path)")
    if path.startswith("~"):
        try:
            compile_path(path[1:])
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return path
    try:
        # As the UTF-8 bytes that a client sends.
        normal = normalise(path.encode().decode("latin-1"))
    except BadPath as bad:
        raise ValueError(f"invalid path: {bad}") from bad
    if normal != path:
        raise ValueError(f"non-normalized path, consider use '{normal}' instead")
    return path


def _host(host: str) -> str:
    name = host.partition(":")[0]
    if name.count("*") > 1:
        raise ValueError("invalid wildcard: must have at most one wildcard")
    if "*" in name.removeprefix("*.").removesuffix(".*"):
        raise ValueError("invalid wildcard: must be placed at leftmost or rightmost label")
    return host


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.\-_~\u0080-\U0010ffff]+", name):
        raise ValueError(
            f"invalid value '{name}': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
        )
    return name


def _hostname(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise ValueError(f"Invalid name ('{name}'); must be a valid hostname")
    return name


Name = Annotated[str, AfterValidator(_name)]
EntityID = Annotated[str, AfterValidator(lambda id_: str(UUID(id_)))]
RoutePath = Annotated[str, AfterValidator(_path)]
RouteHost = Annotated[str, Field(min_length=1), AfterValidator(_host)]


class Entity(BaseModel):
    """A missing id is derived from the natural key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: EntityID = ""
    tags: list[str] = []

    @property
    def natural_key(self) -> str | None:
        name: str | None = getattr(self, "name", None)
        return name


class Plugin(Entity):
    """`name` is not a natural key."""

    name: str
    instance_name: str | None = None
    enabled: bool = True
    config: dict[str, Any] | None = None
    protocols: list[Literal["http", "https", "grpc", "grpcs"]] = ["grpc", "grpcs", "http", "https"]
    service: Reference | None = None
    route: Reference | None = None
    consumer: Reference | None = None

    @property
    def natural_key(self) -> None:
        return None


class Route(Entity):
    name: Name | None = None
    protocols: list[Literal["http", "https"]] = ["http", "https"]
    methods: list[Method] = []
    hosts: list[RouteHost] = []
    headers: dict[HeaderName, list[str]] = {}
    paths: list[RoutePath] = []
    strip_path: bool = True
    preserve_host: bool = False
    regex_priority: int = 0
    path_handling: Literal["v0", "v1"] = "v0"
    https_redirect_status_code: Literal[426, 301, 302, 307, 308] = 426
    request_buffering: bool = True
    response_buffering: bool = True
    service: Reference | None = None
    plugins: list[Plugin] = []

    @model_validator(mode="after")
    def _selects_something(self) -> Self:
        if not (self.methods or self.hosts or self.headers or self.paths):
            raise ValueError("must set one of 'methods', 'hosts', 'headers', 'paths'")
        if "host" in {name.lower() for name in self.headers}:
            raise ValueError("headers cannot contain 'host'; use hosts")
        return self


class Service(Entity):
    name: Name | None = None
    enabled: bool = True
    protocol: Literal["http", "https"] = "http"
    host: Annotated[str, Field(min_length=1)]
    port: Port = 80
    path: Annotated[str, Field(pattern="^/")] | None = None
    retries: Annotated[int, Field(ge=0, le=32767)] = 5
    connect_timeout: Milliseconds = 60_000
    write_timeout: Milliseconds = 60_000
    read_timeout: Milliseconds = 60_000
    tls_verify: bool | None = None
    routes: list[Route] = []
    plugins: list[Plugin] = []

    @model_validator(mode="before")
    @classmethod
    def _expand_url(cls, fields: Any) -> Any:
        """`url` is shorthand; https has its own default port."""
        if not isinstance(fields, dict):
            return fields
        fields = dict(fields)
        if "url" in fields:
            url = urlsplit(str(fields.pop("url")))
            parts = {"protocol": url.scheme, "host": url.hostname, "port": url.port, "path": url.path}
            fields = {**{name: value for name, value in parts.items() if value}, **fields}
        if fields.get("protocol") == "https":
            fields.setdefault("port", 443)
        return fields


class JWTSecret(Entity):
    key: Annotated[str, Field(min_length=1)] = Field(default_factory=lambda: uuid4().hex)
    secret: str | None = None
    rsa_public_key: str | None = None
    algorithm: Literal[
        "HS256",
        "HS384",
        "HS512",
        "RS256",
        "RS384",
        "RS512",
        "ES256",
        "ES384",
        "ES512",
        "PS256",
        "PS384",
        "PS512",
        "EdDSA",
    ] = "HS256"
    consumer: Reference | None = None

    @model_validator(mode="after")
    def _has_its_public_key(self) -> Self:
        if not self.algorithm.startswith("HS") and not self.rsa_public_key:
            raise ValueError(f"failed conditional validation: {self.algorithm} needs rsa_public_key")
        return self

    @property
    def natural_key(self) -> str:
        return self.key

    @property
    def identifier(self) -> str:
        """Identifies the credential to the upstream."""
        return self.key


class KeyAuthCredential(Entity):
    key: Annotated[str, Field(min_length=1)] = Field(default_factory=lambda: uuid4().hex)
    ttl: Annotated[int, Field(ge=0)] | None = None
    consumer: Reference | None = None

    @property
    def natural_key(self) -> str:
        return self.key

    @property
    def identifier(self) -> str:
        return self.id


class BasicAuthCredential(Entity):
    username: Annotated[str, Field(min_length=1)]
    password: str
    consumer: Reference | None = None

    @property
    def natural_key(self) -> str:
        return self.username

    @property
    def identifier(self) -> str:
        return self.username


Credential = JWTSecret | KeyAuthCredential | BasicAuthCredential


class ACL(Entity):
    group: Annotated[str, Field(min_length=1)]
    consumer: Reference | None = None

    @property
    def natural_key(self) -> None:
        return None


class Consumer(Entity):
    username: str | None = None
    custom_id: str | None = None
    jwt_secrets: list[JWTSecret] = []
    keyauth_credentials: list[KeyAuthCredential] = []
    basicauth_credentials: list[BasicAuthCredential] = []
    acls: list[ACL] = []
    plugins: list[Plugin] = []

    @property
    def natural_key(self) -> str | None:
        return self.username

    @model_validator(mode="after")
    def _is_identified(self) -> Self:
        if self.username is None and self.custom_id is None:
            raise ValueError("at least one of these fields must be non-empty: 'custom_id', 'username'")
        return self


def _target(target: str) -> str:
    found = re.fullmatch(r"([^:/\s]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?", target)
    if not found or int(found[2] or 0) > MAX_PORT:
        raise ValueError(f"Invalid target ('{target}'); not a valid hostname or ip address")
    return target


TargetAddress = Annotated[str, AfterValidator(_target)]
TargetWeight = Annotated[int, Field(ge=0, le=65535)]


class Target(Entity):
    target: TargetAddress
    weight: TargetWeight = 100
    upstream: Reference | None = None

    @property
    def natural_key(self) -> None:
        return None


HashInput = Literal["none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"]


class Upstream(Entity):
    name: Annotated[str, AfterValidator(_hostname)]
    algorithm: Literal["round-robin", "consistent-hashing", "least-connections"] = "round-robin"
    hash_on: HashInput = "none"
    hash_fallback: HashInput = "none"
    hash_on_header: HeaderName | None = None
    hash_fallback_header: HeaderName | None = None
    hash_on_cookie: str | None = None
    hash_on_cookie_path: str = "/"
    hash_on_query_arg: str | None = None
    hash_fallback_query_arg: str | None = None
    hash_on_uri_capture: str | None = None
    hash_fallback_uri_capture: str | None = None
    slots: Annotated[int, Field(ge=10, le=65536)] = 10_000
    healthchecks: HealthChecks = HealthChecks()
    host_header: str | None = None
    use_srv_name: bool = False
    targets: list[Target] = []

    @model_validator(mode="after")
    def _hash_inputs_are_named(self) -> Self:
        for role in ("hash_on", "hash_fallback"):
            kind = getattr(self, role)
            named = {"header": f"{role}_header", "query_arg": f"{role}_query_arg", "uri_capture": f"{role}_uri_capture"}
            field = "hash_on_cookie" if kind == "cookie" else named.get(kind)
            if field is not None and getattr(self, field) is None:
                raise ValueError(f"{role}: {kind} needs {field}")
        return self


class Document(BaseModel):
    """`format_version` must be quoted: like Kong, reject a number."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format_version: Literal["1.1", "2.1", "3.0"] = Field(alias="_format_version")
    transform: bool = Field(default=True, alias="_transform")
    comment: str = Field(default="", alias="_comment")
    info: dict[str, Any] = Field(default={}, alias="_info")
    services: list[Service] = []
    routes: list[Route] = []
    consumers: list[Consumer] = []
    jwt_secrets: list[JWTSecret] = []
    keyauth_credentials: list[KeyAuthCredential] = []
    basicauth_credentials: list[BasicAuthCredential] = []
    acls: list[ACL] = []
    plugins: list[Plugin] = []
    upstreams: list[Upstream] = []
    targets: list[Target] = []
