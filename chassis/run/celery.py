"""A service's Celery process: a pool of threads."""

from typing import Any

from celery.signals import setup_logging, worker_ready, worker_shutting_down

from chassis.base import health, telemetry, tracing
from chassis.clients import credentials
from chassis.run.service import Service


def run(service: Service) -> None:
    """On SIGTERM, finishes tasks in progress."""
    assert service.celery is not None, f"{service.name} has no tasks."
    settings = service.settings
    telemetry.configure_logging(service.name, settings.log_level)
    telemetry.BUILD.labels(settings.version).set(1)
    consumer: Any = None

    @setup_logging.connect(weak=False)
    def keep_our_logging(**_: object) -> None:
        """Celery configures logging unless this signal has a receiver."""

    @worker_ready.connect(weak=False)
    def ready(sender: Any, **_: object) -> None:
        nonlocal consumer
        consumer = sender

    @worker_shutting_down.connect(weak=False)
    def stopping(**_: object) -> None:
        nonlocal consumer
        consumer = None

    def check() -> None:
        # Celery signals readiness only once.
        connection = consumer and consumer.connection
        if connection is None or not connection.connected:
            raise ConnectionError("Celery does not consume.")

    checks = {"database": service.store.check, "celery": check}
    found = health.Health(checks, keys=lambda: credentials.digest(service.settings))
    health.serve(found, service.settings.host, service.settings.port)
    try:
        _work(service.celery.app, settings.threads)
    finally:
        tracing.stop()


def _work(app: Any, threads: int) -> None:
    app.worker_main(
        [
            "--quiet",
            "worker",
            "--pool=threads",
            f"--concurrency={threads}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=WARNING",
        ]
    )
