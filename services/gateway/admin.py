"""The admin port: the gateway's state for operators and Prometheus, and the documentation page that the edge shows."""

import os
import resource
import threading
from typing import Any

from flask import Flask, Response, request
from flask_swagger_ui import get_swaggerui_blueprint
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from chassis.health import Health
from services.gateway.app import Gateway
from services.gateway.openapi import JoinedDocument


class Quiet(WSGIRequestHandler):
    # A client that connects and says nothing holds its thread no longer than this.
    timeout = 10

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Probes are not worth a log line."""


def create_admin(gateway: Gateway, services: dict[str, str]) -> Flask:
    """`services` has the base URL of each service whose OpenAPI document is joined."""
    app = Flask("gateway-admin", static_folder=None)
    app.url_map.strict_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's own provider has it
    document = JoinedDocument(services, lambda: gateway.edge.router)
    health = Health({})

    @app.get("/openapi.json")
    def openapi() -> dict[str, Any]:
        return document.get()

    @app.get("/status")
    def status() -> dict[str, Any]:
        return _status(gateway)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    @app.get("/health/live", endpoint="live")
    @app.get("/health/ready", endpoint="ready")
    def probe() -> Response:
        code, body = health.answer(request.path) or (404, b"{}")
        return Response(body, code, content_type="application/json")

    app.register_blueprint(
        get_swaggerui_blueprint("/docs", "/openapi.json", {"app_name": "Souk", "persistAuthorization": True})
    )
    return app


def _status(gateway: Gateway) -> dict[str, Any]:
    """In the shape of Kong's."""
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "memory": {
            "workers_lua_vms": [{"pid": os.getpid(), "http_allocated_gc": f"{kibibytes / 1024:.2f} MiB"}],
            "lua_shared_dicts": {},
        },
        "server": {"total_requests": gateway.total_requests},
        "configuration_hash": gateway.edge.configuration.hash,
    }


def listen(admin: Flask, host: str, port: int) -> BaseWSGIServer:
    """Take the port. Ends the process, with a line, when somebody else has it."""
    return make_server(host, port, admin, threaded=True, request_handler=Quiet)


def start(server: BaseWSGIServer) -> None:
    """Answer from threads of this process, for as long as it lives."""
    threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
