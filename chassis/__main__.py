"""Run a process of a service: `python -m chassis web|worker|celery|migrate|openapi services.<name>`."""

import argparse
import importlib
import json
import sys

from chassis.run.service import Service


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m chassis", description=__doc__)
    parser.add_argument("command", choices=["web", "worker", "celery", "migrate", "openapi"])
    parser.add_argument("package", help="the service's package, e.g. services.orders")
    arguments = parser.parse_args()
    package = importlib.import_module(arguments.package)
    service: Service = importlib.import_module(f"{arguments.package}.app").service
    if service.settings.failpoints_directory:
        from chassis.base import failpoints

        failpoints.arm(service.settings.failpoints_directory, f"{service.name}-{arguments.command}")
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
            service.store.migrate(package)
        case "openapi":
            from chassis.run import web_app

            json.dump(web_app.build(service).extensions["openapi"](), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
