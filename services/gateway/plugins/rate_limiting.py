"""Limits requests per window."""

import hashlib
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from structlog import get_logger

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins import counters
from services.gateway.plugins.base import Access, Plugin, PluginConfig
from services.gateway.plugins.windows import SECONDS, start_of

log = get_logger(__name__)

UNSCOPED = "00000000-0000-0000-0000-000000000000"
"""Key part when not scoped to a route or service."""

CREDENTIALS = frozenset({"authorization", "proxy-authorization", "cookie"})
"""Counted by digest: keys are readable in Redis."""

LOG_SECONDS = 1.0
"""Between log lines about an unavailable Redis."""

Limit = Annotated[int, Field(gt=0)] | None


class RedisConfig(PluginConfig):
    host: str | None = None
    port: Annotated[int, Field(ge=0, le=65535)] = 6379
    timeout: Annotated[int, Field(ge=1, le=2**31 - 2)] = 2000
    """Milliseconds."""
    username: str | None = None
    password: str | None = None
    database: Annotated[int, Field(ge=0)] = 0
    ssl: bool = False
    ssl_verify: bool = False
    server_name: str | None = None


class RateLimitingConfig(PluginConfig):
    second: Limit = None
    minute: Limit = None
    hour: Limit = None
    day: Limit = None
    month: Limit = None
    year: Limit = None
    limit_by: Literal["consumer", "credential", "ip", "service", "header", "path"] = "consumer"
    header_name: str | None = None
    path: Annotated[str, Field(pattern="^/")] | None = None
    policy: Literal["local", "redis"] = "local"
    fault_tolerant: bool = True
    redis: RedisConfig = RedisConfig()
    hide_client_headers: bool = False
    error_code: Annotated[int, Field(ge=100, le=599)] = 429
    error_message: str = "API rate limit exceeded"
    sync_rate: Literal[-1] = -1

    @property
    def limits(self) -> dict[str, int]:
        return {window: limit for window in SECONDS if (limit := getattr(self, window)) is not None}

    @model_validator(mode="before")
    @classmethod
    def _not_cluster(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("policy") == "cluster":
            raise ValueError("policy: cluster is not possible without a database; use redis or local")
        return fields

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        limits = list(self.limits.items())
        if not limits:
            raise ValueError("at least one of these fields must be non-empty: " + ", ".join(SECONDS))
        for (shorter, few), (longer, many) in pairwise(limits):
            if many < few:
                raise ValueError(
                    f"The limit for {longer}({many:.1f}) cannot be lower than the limit for {shorter}({few:.1f})"
                )
        if self.limit_by == "header" and not self.header_name:
            raise ValueError("limit_by: header needs header_name")
        if self.limit_by == "path" and not self.path:
            raise ValueError("limit_by: path needs path")
        if self.policy == "redis" and not self.redis.host:
            raise ValueError("policy: redis needs redis.host")
        return self


class RateLimiting(Plugin):
    name, priority = "rate-limiting", 910

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = RateLimitingConfig.model_validate(entry.config or {})
        self._windows = list(self._config.limits)
        self._limits = list(self._config.limits.values())
        self._logged_at = 0.0
        self._scope = f"{entry.route or UNSCOPED}:{entry.service or UNSCOPED}"

    def access(self, exchange: Exchange) -> Access:
        now = time.time()
        owner = f"{self._scope}:{self._identifier(exchange)}"
        counted = [(owner, window, start_of(window, now)) for window in self._windows]
        if self._config.policy == "redis":
            return self._shared(exchange, counted, now)
        return self._check(exchange, counters.LOCAL.used(counted, self._limits, now), now)

    async def _shared(self, exchange: Exchange, counted: Sequence[counters.Counter], now: float) -> Response | None:
        from redis.exceptions import RedisError

        redis = self._config.redis
        try:
            client = counters.redis_counters(
                redis.host or "",
                redis.port,
                redis.database,
                redis.username,
                redis.password,
                redis.ssl,
                redis.timeout / 1000,
            )
            used = await client.used(counted)
        except (OSError, RedisError) as error:
            if now - self._logged_at > LOG_SECONDS:
                self._logged_at = now
                log.error("requests not counted", error=repr(error), fault_tolerant=self._config.fault_tolerant)
            return None if self._config.fault_tolerant else responses.error(exchange, responses.UNEXPECTED)
        return self._check(exchange, used, now)

    def _identifier(self, exchange: Exchange) -> str:
        config, credential = self._config, exchange.credential
        found = None
        match config.limit_by:
            case "consumer":
                found = exchange.consumer.id if exchange.consumer else credential.id if credential else None
            case "credential":
                found = credential.id if credential else None
            case "service":
                service = exchange.match.service if exchange.match else None
                found = service.id if service else None
            case "header":
                found = exchange.current_header(config.header_name or "")
                if found and (config.header_name or "").lower() in CREDENTIALS:
                    found = hashlib.sha256(found.encode()).hexdigest()
            case "path":
                found = config.path if exchange.raw_path == config.path else None
        return found or exchange.client_ip

    def _check(self, exchange: Exchange, used: Sequence[int], now: float) -> Response | None:
        """`used`: before this request."""
        over = next((place for place, count in enumerate(used) if count >= self._limits[place]), None)
        headers, tightest = [], None
        for place, (window, limit, count) in enumerate(zip(self._windows, self._limits, used, strict=True)):
            # When one window refuses, the others have not counted.
            remaining = max(0, limit - count - (1 if over in (None, place) else 0))
            headers.append((f"X-RateLimit-Limit-{window.title()}", str(limit)))
            headers.append((f"X-RateLimit-Remaining-{window.title()}", str(remaining)))
            if tightest is None or remaining <= tightest[0]:
                tightest = remaining, limit, window
        assert tightest is not None
        remaining, limit, window = tightest
        reset = str(max(1, SECONDS[window] - int(now - start_of(window, now))))
        headers += [
            ("RateLimit-Limit", str(limit)),
            ("RateLimit-Remaining", str(remaining)),
            ("RateLimit-Reset", reset),
        ]
        if over is not None:
            headers.append(("Retry-After", reset))
        if not self._config.hide_client_headers:
            exchange.response_headers += headers
        return (
            None if over is None else responses.error(exchange, (self._config.error_code, self._config.error_message))
        )
