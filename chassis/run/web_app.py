"""A service's web application."""

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_flask_exporter import PrometheusMetrics
from structlog import get_logger

# Imported at start: takes 0.3 s.
import chassis.security.revocations  # noqa: F401
from chassis.base import deadline, telemetry, tracing
from chassis.base.health import Health, InFlight
from chassis.base.settings import Settings
from chassis.base.tracing import Kind
from chassis.clients import credentials
from chassis.run import operations
from chassis.run.bodies import MAX_BODY_BYTES
from chassis.run.service import Service
from chassis.security.keys import keyring
from chassis.storage import store
from chassis.web import api, errors, openapi

log = get_logger(__name__)

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    # No response is a page.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-site",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Defaults."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 10)
"""0.2 s is the promise."""

_SECURITY = [(name.lower(), (name, value)) for name, value in SECURITY_HEADERS.items()]
_UNLOGGED = ("/health/", "/metrics")


def build(service: Service) -> Flask:
    """Raises TypeError, see `api.mount`."""
    telemetry.configure_logging(service.name, service.settings.log_level)
    telemetry.BUILD.labels(service.settings.version).set(1)
    app = Flask(service.name)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A redirect to /orders/ would break a POST.
    app.url_map.strict_slashes = False
    errors.register(app, service.store.unavailable)
    document = api.mount(
        app,
        {**service.routes(), **operations.routes(service)},
        service.settings,
        service.title or service.name,
        service.about,
    )
    app.extensions["openapi"] = document
    app.add_url_rule("/openapi.json", view_func=openapi.serve(document), endpoint="openapi")
    in_flight = InFlight()
    health = Health({"database": service.store.check}, in_flight, lambda: _keys(service.settings))
    serve(app, service.settings, health, in_flight, lambda: store.active(service.store))
    return app


def _keys(settings: Settings) -> str:
    """Its own key's and its callers' have been read."""
    own = credentials.digest(settings)
    return own if own and keyring(settings).digest() == own else ""


def serve(
    app: Flask,
    settings: Settings,
    health: Health,
    in_flight: InFlight,
    active: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Probes, metrics, and for each request its log line, trace, deadline and security headers."""
    _probe(app, health)
    _activate(app, settings, in_flight, health.registry(), active)


def _activate(
    app: Flask,
    settings: Settings,
    in_flight: InFlight,
    registry: CollectorRegistry,
    active: Callable[[], AbstractContextManager[None]],
) -> None:
    inner = app.wsgi_app
    timeout = settings.request_timeout_seconds
    PrometheusMetrics(app, path="/metrics", export_defaults=False, registry=registry)
    requests = Requests(registry)

    def activated(environ: Any, start_response: Any) -> Any:
        started, status, route = time.perf_counter(), 0, "none"

        def start(line: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            nonlocal status, route
            status = int(line[:3])
            # The path may hold a card number.
            if rule := environ["werkzeug.request"].url_rule:
                route = rule.rule
            return start_response(line, _secured(headers), *error)

        if environ["PATH_INFO"].startswith(_UNLOGGED):
            return inner(environ, start)
        method, incoming = environ["REQUEST_METHOD"], tracing.incoming(environ)
        span = tracing.start(method, Kind.SERVER, incoming)
        with (
            in_flight,
            active(),
            tracing.trace(incoming, environ.get("HTTP_X_CORRELATION_ID", ""), span, work=method),
            deadline.of_request(environ.get(deadline.ENVIRON), timeout),
        ):
            response = inner(environ, start)
            requests.record(method, route, status, time.perf_counter() - started)
            if span is not None:
                tracing.end_of_request(span, method, route, status)
            return response

    app.wsgi_app = activated  # type: ignore[method-assign]


def _secured(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    present = {name.lower() for name, _ in headers}
    return headers + [pair for name, pair in _SECURITY if name not in present]


class Requests:
    """Logs and counts them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("method", "url_rule", "status")
        self._seconds = Histogram(
            "flask_http_request_duration_seconds", "Duration of requests.", labels, registry=registry, buckets=BUCKETS
        )
        self._total = Counter("flask_http_request_total", "Requests.", ("method", "status"), registry=registry)
        # Binding labels takes longer than counting.
        self._bound = functools.cache(self._bind)

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        duration, total = self._bound(method if method in tracing.METHODS else "other", route, status)
        duration.observe(seconds, tracing.exemplar())
        total.inc()
        log.info("request", method=method, route=route, status=status, milliseconds=round(seconds * 1000, 1))

    def _bind(self, method: str, route: str, status: int) -> tuple[Histogram, Counter]:
        return self._seconds.labels(method, route, status), self._total.labels(method, status)


def _probe(app: Flask, health: Health) -> None:
    def probe() -> Response:
        status, body = health.respond(request.path) or (404, b"{}")
        return Response(body, status, content_type="application/json")

    app.add_url_rule("/health/live", view_func=probe, endpoint="live")
    app.add_url_rule("/health/ready", view_func=probe, endpoint="ready")
