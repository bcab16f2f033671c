"""One service as the chassis sees it: its table of contents, from which web, worker and Celery processes are made."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics
from sqlalchemy import Table
from structlog import get_logger

from chassis import api, outbox, problems, store, telemetry
from chassis.api import Resource
from chassis.db import Database
from chassis.health import Health
from chassis.inbox import Listener
from chassis.mongo import MongoStore
from chassis.settings import Settings
from chassis.store import SQLStore, Store
from chassis.tasks import Tasks

log = get_logger(__name__)

LARGEST_BODY_BYTES = 1_000_000


@dataclass(frozen=True)
class Timer:
    """Work that a worker does every so often, in a transaction of its own."""

    every_seconds: float
    run: Callable[[], None]


@dataclass
class Service:
    """`collection` names the MongoDB collection that carries unsent messages; without it the service is on PostgreSQL."""

    name: str
    settings_class: type[Settings]
    routes: Mapping[str, type[Resource]]
    listener: Listener | None = None
    tasks: Tasks | None = None
    timers: Sequence[Timer] = ()
    outbox: Table = field(default_factory=lambda: outbox.outbox)
    collection: str | None = None

    @cached_property
    def settings(self) -> Settings:
        return self.settings_class.current()

    @cached_property
    def store(self) -> Store:
        if self.collection is not None:
            return MongoStore(self.settings.mongo_url, self.collection, self.name)
        return SQLStore(Database(self.settings.database_url, self.settings.threads), self.outbox, self.name)

    def flask(self) -> Flask:
        """The service's web application."""
        telemetry.configure_logging(self.name, self.settings.log_level)
        app = Flask(self.name)
        app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY_BYTES
        app.extensions["souk"] = self
        # A URL is one thing: /orders and /orders/ are the same list, without a redirect that a POST would not survive.
        app.url_map.strict_slashes = False
        problems.register(app)
        self._observe(app)
        spec = api.mount(app, dict(self.routes), self.settings, title=self.name)
        app.add_url_rule("/openapi.json", view_func=api.openapi(spec), endpoint="openapi")
        self._probe(app, Health({"database": self.store.check}))
        inner = app.wsgi_app

        def activated(environ: Any, start_response: Any) -> Any:
            with store.active(self.store), telemetry.trace(environ.get("HTTP_TRACEPARENT", "")):
                return inner(environ, start_response)

        app.wsgi_app = activated  # type: ignore[method-assign]
        return app

    def _probe(self, app: Flask, health: Health) -> None:
        def probe() -> Response:
            status, body = health.answer(request.path) or (404, b"{}")
            return Response(body, status, content_type="application/json")

        app.add_url_rule("/health/live", view_func=probe, endpoint="live")
        app.add_url_rule("/health/ready", view_func=probe, endpoint="ready")

    def _observe(self, app: Flask) -> None:
        registry = CollectorRegistry()
        registry.register(REGISTRY)
        PrometheusMetrics(app, path="/metrics", group_by="url_rule", registry=registry)

        @app.before_request
        def start() -> None:
            g.started = time.perf_counter()

        @app.after_request
        def finish(response: Response) -> Response:
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers.setdefault("Cache-Control", "no-store")
            if not request.path.startswith(("/health/", "/metrics")):
                milliseconds = round((time.perf_counter() - g.started) * 1000, 1)
                log.info(
                    "request",
                    method=request.method,
                    path=request.path,
                    status=response.status_code,
                    milliseconds=milliseconds,
                )
            return response
