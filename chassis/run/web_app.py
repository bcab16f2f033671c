"""A service's web application."""

import time
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics
from structlog import get_logger

# Imported at start: takes 0.3 s.
import chassis.security.revocations  # noqa: F401
from chassis.base import deadline, telemetry
from chassis.base.health import Health, InFlight
from chassis.run.service import Service
from chassis.storage import store
from chassis.web import api, errors, openapi

log = get_logger(__name__)

MAX_BODY_BYTES = 1_000_000
MAX_DRAINED_BYTES = 8 * 2**20
"""As much as the edge lets through."""

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

_BLOCK_BYTES = 65_536
_UNLOGGED = ("/health/", "/metrics")


def build(service: Service) -> Flask:
    """Raises TypeError, see `api.mount`."""
    telemetry.configure_logging(service.name, service.settings.log_level)
    app = Flask(service.name)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A redirect to /orders/ would break a POST.
    app.url_map.strict_slashes = False
    errors.register(app, service.store.unavailable)
    _observe(app)
    document = api.mount(app, service.routes(), service.settings, title=service.name)
    app.extensions["openapi"] = document
    app.add_url_rule("/openapi.json", view_func=openapi.serve(document), endpoint="openapi")
    in_flight = InFlight()
    _probe(app, Health({"database": service.store.check}, in_flight))
    _activate(app, service, in_flight)
    return app


def _activate(app: Flask, service: Service, in_flight: InFlight) -> None:
    inner = app.wsgi_app
    timeout = service.settings.request_timeout_seconds

    def activated(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith(_UNLOGGED):
            return inner(environ, start_response)
        with (
            in_flight.one(),
            store.active(service.store),
            telemetry.trace(environ.get("HTTP_TRACEPARENT", ""), work=environ["REQUEST_METHOD"]),
            deadline.of_request(environ.get(deadline.ENVIRON), timeout),
        ):
            response = inner(environ, start_response)
            _drain(environ)
            return response

    app.wsgi_app = activated  # type: ignore[method-assign]


def _drain(environ: Any) -> None:
    """Closing with unread data resets the connection and loses the response."""
    if environ.get("CONTENT_LENGTH", "0") == "0":
        return
    for _ in range(MAX_DRAINED_BYTES // _BLOCK_BYTES):
        if not environ["wsgi.input"].read(_BLOCK_BYTES):
            break


def _probe(app: Flask, health: Health) -> None:
    def probe() -> Response:
        status, body = health.respond(request.path) or (404, b"{}")
        return Response(body, status, content_type="application/json")

    app.add_url_rule("/health/live", view_func=probe, endpoint="live")
    app.add_url_rule("/health/ready", view_func=probe, endpoint="ready")


def _observe(app: Flask) -> None:
    # Tests have several applications.
    registry = CollectorRegistry()
    registry.register(REGISTRY)
    PrometheusMetrics(app, path="/metrics", group_by="url_rule", registry=registry)

    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        if not request.path.startswith(_UNLOGGED):
            milliseconds = round((time.perf_counter() - g.started) * 1000, 1)
            log.info(
                "request",
                method=request.method,
                # The path may hold a card number.
                route=request.url_rule.rule if request.url_rule else "none",
                status=response.status_code,
                milliseconds=milliseconds,
            )
        return response
