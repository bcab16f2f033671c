"""Kong's metrics of exchanges, for /metrics."""

from chassis.base import tracing
from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins import metrics
from services.gateway.plugins.base import Plugin, PluginConfig


class PrometheusConfig(PluginConfig):
    status_code_metrics: bool = False
    latency_metrics: bool = False
    bandwidth_metrics: bool = False
    upstream_health_metrics: bool = False
    per_consumer: bool = False


class Prometheus(Plugin):
    name, priority = "prometheus", 13

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = PrometheusConfig.model_validate(entry.config or {})

    @property
    def shows_upstream_health(self) -> bool:
        return self._config.upstream_health_metrics

    def log(self, exchange: Exchange, response: Response) -> None:
        match = exchange.match
        if match is None or match.service is None:
            return
        service, route = match.service.name or match.service.id, match.route.name or match.route.id
        consumer = exchange.consumer.username or "" if self._config.per_consumer and exchange.consumer else ""
        if self._config.status_code_metrics:
            source = "service" if exchange.from_upstream else "kong"
            metrics.requests(service, route, response.status, source, consumer).inc()
        if self._config.bandwidth_metrics:
            metrics.bandwidth(service, route, "ingress", consumer).inc(exchange.received_bytes)
            metrics.bandwidth(service, route, "egress", consumer).inc(exchange.sent_bytes)
        if self._config.latency_metrics:
            whole, waited = (exchange.finished or exchange.seconds()) * 1000, (exchange.upstream_seconds or 0.0) * 1000
            metrics.request_latency(service, route).observe(whole, tracing.exemplar(exchange.span))
            metrics.kong_latency(service, route).observe(max(whole - waited, 0))
            if exchange.from_upstream:
                metrics.upstream_latency(service, route).observe(waited)
