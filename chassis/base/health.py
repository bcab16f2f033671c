"""Health checks, and an HTTP server for processes without one."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from structlog import get_logger

log = get_logger(__name__)

CACHE_SECONDS = 1.0


class Health(Collector):
    """Checks raise, and bound their own time."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], None]],
        in_flight: "InFlight | None" = None,
        keys: Callable[[], str] = lambda: "",
        weights: Callable[[], Mapping[str, Mapping[str, int]]] = dict,
    ) -> None:
        """keys: a digest of those that the process uses; weights: an edge's, by service and target. Operators wait for them."""
        self._checks, self._in_flight, self._keys, self._weights = checks, in_flight, keys, weights
        self._lock = threading.Lock()
        self._expires = 0.0
        self._report: dict[str, str] = {}

    def report(self) -> dict[str, str]:
        """By dependency: "ok" or the error's name."""
        with self._lock:
            if time.monotonic() >= self._expires:
                self._report = {name: _outcome(check) for name, check in self._checks.items()}
                self._expires = time.monotonic() + CACHE_SECONDS
            return self._report

    def collect(self) -> Iterator[Metric]:
        """Checks at each scrape."""
        ready = GaugeMetricFamily("souk_ready", "Whether a check passes.", labels=["check"])
        for name, outcome in self.report().items():
            ready.add_metric([name], outcome == "ok")
        yield ready

    def registry(self) -> CollectorRegistry:
        """With the process's other metrics. Tests have several programs in one process."""
        found = CollectorRegistry()
        found.register(self)
        found.register(REGISTRY)
        return found

    def respond(self, path: str) -> tuple[int, bytes] | None:
        """Status and JSON body; None for another path."""
        if path == "/health/live":
            return 200, b'{"status": "alive"}'
        if path == "/health/ready":
            report = self.report()
            ready = all(outcome == "ok" for outcome in report.values())
            body: dict[str, Any] = {"status": "ready" if ready else "not ready", "checks": report}
            if self._in_flight is not None:
                body["in_flight"] = self._in_flight.count
            if keys := self._keys():
                body["keys"] = keys
            if weights := self._weights():
                body["weights"] = weights
            return (200 if ready else 503), json.dumps(body).encode()
        return None


class InFlight:
    """Counts the blocks being run."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.count -= 1


def _outcome(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:
        return type(error).__name__
    return "ok"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The base class would print a traceback."""
        log.warning("health request failed", error=repr(sys.exception()))


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Do not log probes."""


def serve(health: Health, host: str, port: int) -> WSGIServer:
    """Health checks and /metrics, from a thread."""
    metrics = make_wsgi_app(health.registry())

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        status, body = health.respond(environ["PATH_INFO"]) or (404, b"{}")
        start_response(f"{status} -", [("Content-Type", "application/json")])
        return [body]

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return respond(environ, start_response)
        except Exception as error:  # wsgiref would print a traceback
            log.error("health request failed", exc_info=error)
            start_response("500 -", [("Content-Type", "application/json")])
            return [b"{}"]

    server = make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
