"""The admin port's Flask application."""

from typing import Any

from flask import Flask, Response, request
from prometheus_client.openmetrics import exposition as openmetrics
from werkzeug.exceptions import HTTPException

from chassis.base.health import Health
from services.gateway.admin import config, entities, state, targets
from services.gateway.admin.access import Access
from services.gateway.admin.openapi import JoinedDocument
from services.gateway.admin.readiness import Readiness
from services.gateway.runtime import Runtime

OPEN_METRICS = "application/openmetrics-text"


def create_admin(runtime: Runtime, services: dict[str, str]) -> Flask:
    """`services`: base URL by name."""
    app = Flask("gateway-admin", static_folder=None)
    app.url_map.strict_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's own provider has it
    document = JoinedDocument(services, runtime.settings.internal_ca_file, lambda: runtime.gateway.edge.router)
    readiness = Readiness(runtime.resources.names)
    health = Health({"names": readiness.check})
    access = Access(runtime.settings)
    access.guard(app)
    app.register_error_handler(HTTPException, _as_kong_error)

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(document.get(), content_type="application/json")

    @app.get("/status")
    def status() -> dict[str, Any]:
        return state.status(runtime)

    @app.get("/")
    def node() -> dict[str, Any]:
        return state.node()

    @app.before_request
    def show_methods() -> Response | None:
        path = request.path.strip("/").split("/")
        if request.method != "OPTIONS" or path[0] not in entities.PATHS:
            return None
        inside = len(path) % 2 == 0
        allowed = "DELETE, GET, HEAD, OPTIONS, PATCH, PUT" if inside else "GET, HEAD, OPTIONS, POST"
        return Response(status=204, headers={"Allow": allowed})

    @app.after_request
    def label(response: Response) -> Response:
        if response.content_type == "application/json":
            response.content_type = "application/json; charset=utf-8"
        return response

    @app.get("/status/ready")
    def ready() -> tuple[dict[str, str], int]:
        try:
            readiness.check()
        except ConnectionError as error:
            return {"message": str(error)}, 503
        return {"message": "ready"}, 200

    @app.get("/metrics")
    def metrics() -> Response:
        if OPEN_METRICS in request.headers.get("Accept", ""):
            return Response(state.open_metrics(runtime), content_type=openmetrics.CONTENT_TYPE_LATEST)
        return Response(state.metrics(runtime), content_type="text/plain; charset=UTF-8")

    @app.get("/health/live", endpoint="health_live")
    @app.get("/health/ready", endpoint="health_ready")
    def probe() -> Response:
        code, body = health.respond(request.path) or (404, b"{}")
        return Response(body, code, content_type="application/json")

    config.register(app, runtime, access)
    targets.register(app, runtime)
    entities.register(app, runtime, access)
    return app


def _as_kong_error(error: HTTPException) -> tuple[dict[str, str], int]:
    code = error.code or 500
    if code == 405 and request.method in ("GET", "HEAD"):
        code = 404  # only rejected writes have such a path
    return {"message": {404: "Not found", 405: "Method not allowed"}.get(code, error.name)}, code
