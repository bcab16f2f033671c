"""Run a process of a service: `python -m chassis web|worker|celery|migrate|openapi services.<name>`."""

import argparse
import importlib
import json
import sys
import time
from types import ModuleType

from chassis.run.service import Service

POLL_SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chassis", description=__doc__)
    parser.add_argument("command", choices=["web", "worker", "celery", "migrate", "openapi"])
    parser.add_argument("package", help="the service's package, e.g. services.orders")
    parser.add_argument("--wait", action="store_true", help="with migrate: only wait until it was done elsewhere")
    arguments = parser.parse_args()
    package = importlib.import_module(arguments.package)
    service: Service = importlib.import_module(f"{arguments.package}.app").service
    if service.settings.failpoints_directory:
        from chassis.base import failpoints

        failpoints.arm(service.settings.failpoints_directory, f"{service.name}-{arguments.command}")
    if service.settings.otlp_url and arguments.command in ("web", "worker", "celery"):
        from chassis.base import otlp

        otlp.start(service.settings.otlp_url, f"{service.name}-{arguments.command}", service.settings.version)
    # Memory is paid per process: each imports only what it runs.
    match arguments.command:
        case "web":
            from chassis.run import web_app, web_server
            from chassis.security import keys

            service.require_settings("keys_file" if service.settings.keys_file else "jwt_keys")
            keys.keyring(service.settings)
            web_server.run(web_app.build(service), service.settings)
        case "worker":
            from chassis.run import worker

            service.require_settings("broker_url")
            worker.run(service)
        case "celery":
            from chassis.run import celery

            service.require_settings("broker_url")
            celery.run(service)
        case "migrate":
            service.require_settings()
            if arguments.wait:
                _wait_until_migrated(service, package)
            else:
                service.store.migrate(package)
        case "openapi":
            from chassis.run import web_app

            json.dump(web_app.build(service).extensions["openapi"](), sys.stdout, indent=2)


def _wait_until_migrated(service: Service, package: ModuleType) -> None:
    while True:
        try:
            if service.store.is_migrated(package):
                return
            reason = "the schema is older than this release"
        except service.store.unavailable as error:
            reason = type(error).__name__
        print(f"{service.name} waits: {reason}", file=sys.stderr, flush=True)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
