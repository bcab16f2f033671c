"""State and metrics over HTTP."""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from services.sidecar.log import log
from services.sidecar.settings import Settings
from services.sidecar.sidecar import Sidecar


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The base class would print a traceback."""
        log("health request failed", "warning", error=repr(sys.exception()))


def serve(sidecar: Sidecar, settings: Settings) -> ThreadingHTTPServer:

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def log_message(self, *_: Any) -> None:
            """Do not log probes."""

        def do_GET(self) -> None:
            status, kind, text = respond(sidecar, settings, self.path)
            self.send_response_only(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    server = _Server((settings.host, settings.port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def respond(sidecar: Sidecar, settings: Settings, path: str) -> tuple[int, str, str]:
    """Status, type, text."""
    match path:
        case "/health/live":
            return 200, "application/json", '{"status": "alive"}'
        case "/health" | "/health/ready":
            ready = path == "/health" or sidecar.is_ready
            return (200 if ready else 503), "application/json", json.dumps(_state(sidecar, settings))
        case "/metrics":
            return 200, "text/plain; version=0.0.4", _metrics(sidecar, settings)
        case _:
            return 404, "application/json", "{}"


def _state(sidecar: Sidecar, settings: Settings) -> dict[str, Any]:
    condition = sidecar.condition
    return {
        "state": sidecar.state,
        "service": settings.service,
        "instance": settings.instance,
        "url": settings.instance_url,
        "version": settings.version,
        "instance_ready": condition.is_ready,
        "in_flight": condition.in_flight,
        "reason": condition.reason,
    }


def _metrics(sidecar: Sidecar, settings: Settings) -> str:
    return (
        "# HELP souk_build_info 1, with the release as a label.\n"
        "# TYPE souk_build_info gauge\n"
        f'souk_build_info{{version="{settings.version}"}} 1\n'
        "# HELP souk_ready Whether the instance is in Consul's catalogue.\n"
        "# TYPE souk_ready gauge\n"
        f'souk_ready{{check="registered"}} {int(sidecar.state == "registered")}\n'
        "# HELP souk_sidecar_instance_ready Whether the instance is ready.\n"
        "# TYPE souk_sidecar_instance_ready gauge\n"
        f"souk_sidecar_instance_ready {int(sidecar.condition.is_ready)}\n"
    )
