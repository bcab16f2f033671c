"""Health check settings, with Kong's names and defaults."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=255)]
Statuses = list[Annotated[int, Field(ge=100, le=999)]]
Seconds = Annotated[float, Field(ge=0, le=65535, strict=False)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ActiveHealthy(_Record):
    interval: Seconds = 0
    """0: no probes of healthy targets."""
    http_statuses: Statuses = [200, 302]
    successes: Count = 0


class ActiveUnhealthy(_Record):
    interval: Seconds = 0
    """0: no probes of unhealthy targets."""
    http_statuses: Statuses = [429, 404, 500, 501, 502, 503, 504, 505]
    tcp_failures: Count = 0
    timeouts: Count = 0
    http_failures: Count = 0


class Active(_Record):
    type: Literal["http", "https", "tcp"] = "http"
    timeout: Seconds = 1
    concurrency: Annotated[int, Field(ge=1)] = 10
    http_path: Annotated[str, Field(pattern="^/")] = "/"
    https_sni: str | None = None
    https_verify_certificate: bool = True
    headers: dict[str, list[str]] = {}
    healthy: ActiveHealthy = ActiveHealthy()
    unhealthy: ActiveUnhealthy = ActiveUnhealthy()

    @property
    def is_on(self) -> bool:
        return self.healthy.interval > 0 or self.unhealthy.interval > 0


class PassiveHealthy(_Record):
    http_statuses: Statuses = [*range(200, 209), 226, *range(300, 309)]
    successes: Count = 0


class PassiveUnhealthy(_Record):
    http_statuses: Statuses = [429, 500, 503]
    tcp_failures: Count = 0
    timeouts: Count = 0
    http_failures: Count = 0


class Passive(_Record):
    type: Literal["http", "https", "tcp"] = "http"
    healthy: PassiveHealthy = PassiveHealthy()
    unhealthy: PassiveUnhealthy = PassiveUnhealthy()

    @property
    def is_on(self) -> bool:
        unhealthy = self.unhealthy
        return bool(unhealthy.tcp_failures or unhealthy.timeouts or unhealthy.http_failures)


class HealthChecks(_Record):
    active: Active = Active()
    passive: Passive = Passive()
    threshold: Annotated[float, Field(ge=0, le=100, strict=False)] = 0
    """Percent of total weight needed for any traffic."""

    @property
    def is_on(self) -> bool:
        return self.active.is_on or self.passive.is_on
