"""Counts and times exchanges under Kong's metric names, for the admin port's /metrics."""

from typing import Any, Literal

from prometheus_client import Counter, Histogram

from services.gateway.answers import Answer
from services.gateway.configuration import Configuration
from services.gateway.exchange import Exchange
from services.gateway.plugins.base import Plugin, PluginConfig

_LATENCY_BUCKETS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)
_KONG_BUCKETS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
_SCOPE = ("service", "route", "workspace")

REQUESTS = Counter(
    "kong_http_requests",
    "HTTP status codes per consumer/service/route in Kong.",
    ("service", "route", "code", "source", "workspace", "consumer"),
)
REQUEST_LATENCY = Histogram(
    "kong_request_latency_ms", "Total latency of a request until its answer's head.", _SCOPE, buckets=_LATENCY_BUCKETS
)
UPSTREAM_LATENCY = Histogram(
    "kong_upstream_latency_ms", "Latency added by the upstream.", _SCOPE, buckets=_LATENCY_BUCKETS
)
KONG_LATENCY = Histogram(
    "kong_kong_latency_ms", "Latency added by the gateway and its plugins.", _SCOPE, buckets=_KONG_BUCKETS
)


class PrometheusConfig(PluginConfig):
    status_code_metrics: bool = False
    latency_metrics: bool = False
    bandwidth_metrics: Literal[False] = False
    upstream_health_metrics: Literal[False] = False
    per_consumer: bool = False


class Prometheus(Plugin):
    name, priority = "prometheus", 13

    def __init__(self, config: dict[str, Any], configuration: Configuration) -> None:
        self._config = PrometheusConfig.model_validate(config)

    def log(self, exchange: Exchange, answer: Answer) -> None:
        if exchange.match is None or exchange.match.service is None:
            return
        service = exchange.match.service.name or exchange.match.service.id
        route = exchange.match.route.name or exchange.match.route.id
        if self._config.status_code_metrics:
            source = "service" if exchange.from_upstream else "kong"
            consumer = exchange.consumer.username if self._config.per_consumer and exchange.consumer else None
            REQUESTS.labels(service, route, answer.status_code, source, "default", consumer or "").inc()
        if self._config.latency_metrics:
            self._time(exchange, (service, route, "default"))

    def _time(self, exchange: Exchange, scope: tuple[str, str, str]) -> None:
        total = exchange.seconds() * 1000
        upstream = (exchange.upstream_seconds or 0.0) * 1000
        REQUEST_LATENCY.labels(*scope).observe(total)
        KONG_LATENCY.labels(*scope).observe(max(total - upstream, 0))
        if exchange.from_upstream:
            UPSTREAM_LATENCY.labels(*scope).observe(upstream)
