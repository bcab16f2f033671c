"""Series are cached: lookups cost more than counting."""

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

# Kong's, and 200 ms, which is promised.
_LATENCY_BUCKETS = (25, 50, 80, 100, 200, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)
_KONG_BUCKETS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
_SCOPE = ("service", "route", "workspace")
_WORKSPACE = "default"

REQUESTS = Counter(
    "kong_http_requests",
    "HTTP status codes per consumer/service/route in Kong.",
    ("service", "route", "code", "source", "workspace", "consumer"),
)
# A counter in Kong; Counter would append `_total`.
BANDWIDTH = Gauge(
    "kong_bandwidth_bytes",
    "Total bandwidth (ingress/egress) throughput in bytes.",
    ("service", "route", "direction", "workspace", "consumer"),
)
REQUEST_LATENCY = Histogram(
    "kong_request_latency_ms", "Total latency of a request, in milliseconds.", _SCOPE, buckets=_LATENCY_BUCKETS
)
UPSTREAM_LATENCY = Histogram(
    "kong_upstream_latency_ms", "Latency added by the upstream, in milliseconds.", _SCOPE, buckets=_LATENCY_BUCKETS
)
KONG_LATENCY = Histogram(
    "kong_kong_latency_ms", "Latency added by the gateway and its plugins, in ms.", _SCOPE, buckets=_KONG_BUCKETS
)


@lru_cache(4096)
def requests(service: str, route: str, status: int, source: str, consumer: str) -> Counter:
    return REQUESTS.labels(service, route, status, source, _WORKSPACE, consumer)


@lru_cache(1024)
def bandwidth(service: str, route: str, direction: str, consumer: str) -> Gauge:
    return BANDWIDTH.labels(service, route, direction, _WORKSPACE, consumer)


@lru_cache(1024)
def request_latency(service: str, route: str) -> Histogram:
    return REQUEST_LATENCY.labels(service, route, _WORKSPACE)


@lru_cache(1024)
def upstream_latency(service: str, route: str) -> Histogram:
    return UPSTREAM_LATENCY.labels(service, route, _WORKSPACE)


@lru_cache(1024)
def kong_latency(service: str, route: str) -> Histogram:
    return KONG_LATENCY.labels(service, route, _WORKSPACE)
