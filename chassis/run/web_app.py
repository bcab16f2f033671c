"""A service's web application: its routes behind the edge, with errors, health, metrics and logs."""

import time
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics
from structlog import get_logger

# Here rather than at the first token: its Redis client takes a third of a second to import.
import chassis.security.revocations  # noqa: F401
from chassis.base import deadline, telemetry
from chassis.base.health import Health, InFlight
from chassis.run.service import Service
from chassis.storage import store
from chassis.web import api, errors, openapi

log = get_logger(__name__)

MAX_BODY_BYTES = 1_000_000
READ_ON_BYTES = 8 * 2**20
"""How much of a body that is not wanted is read and forgotten; as much as the edge lets through."""

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    # Nothing here is a page: whatever a browser takes an answer for, it may load nothing, and stand in no frame.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-site",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""On every answer; an endpoint may say otherwise for its own."""

_BLOCK_BYTES = 65_536
_UNLOGGED = ("/health/", "/metrics")


def build(service: Service) -> Flask:
    """Raises TypeError when a route does not declare who may call it."""
    telemetry.configure_logging(service.name, service.settings.log_level)
    app = Flask(service.name)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A URL is one thing: /orders and /orders/ are the same list, without a redirect that a POST would not survive.
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
    """Each request works for this service's store, in the trace it came with, for as long as its caller waits."""
    inner = app.wsgi_app
    patience = service.settings.request_timeout_seconds

    def activated(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith(_UNLOGGED):
            return inner(environ, start_response)
        with (
            in_flight.one(),
            store.active(service.store),
            telemetry.trace(environ.get("HTTP_TRACEPARENT", ""), work=environ["REQUEST_METHOD"]),
            deadline.of_request(environ.get(deadline.ENVIRON), patience),
        ):
            answer = inner(environ, start_response)
            _read_on(environ)
            return answer

    app.wsgi_app = activated  # type: ignore[method-assign]


def _read_on(environ: Any) -> None:
    """Who is refused while still sending hears no answer unless we read on: closing over unread data resets the connection."""
    if environ.get("CONTENT_LENGTH", "0") == "0":
        return
    for _ in range(READ_ON_BYTES // _BLOCK_BYTES):
        if not environ["wsgi.input"].read(_BLOCK_BYTES):
            break


def _probe(app: Flask, health: Health) -> None:
    def probe() -> Response:
        status, body = health.respond(request.path) or (404, b"{}")
        return Response(body, status, content_type="application/json")

    app.add_url_rule("/health/live", view_func=probe, endpoint="live")
    app.add_url_rule("/health/ready", view_func=probe, endpoint="ready")


def _observe(app: Flask) -> None:
    # An application has its own registry, so that several fit in one process, and shows the process's metrics as well.
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
                # The rule, not the path: what a client typed into a URL may be anything, a card number too.
                route=request.url_rule.rule if request.url_rule else "none",
                status=response.status_code,
                milliseconds=milliseconds,
            )
        return response
