"""Every service has the same names, and a manifest that agrees with it."""

import importlib

import pytest

from chassis.run.service import Service
from launcher.manifests import SERVICES
from launcher.state import REPOSITORY

FILES = ("README.md", "api/routes.py", "app.py", "manifest.py", "models/__init__.py", "settings.py")


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_the_same_files(name: str) -> None:
    folder = REPOSITORY / "services" / name
    migrations = ["migrations/env.py"] if SERVICES[name].store == "postgres" else []
    assert [file for file in (*FILES, *migrations) if not (folder / file).is_file()] == []


@pytest.mark.parametrize("name", SERVICES)
def test_the_manifest_agrees_with_the_service(name: str) -> None:
    service: Service = importlib.import_module(f"services.{name}.app").service
    assert service.name == name
    assert SERVICES[name].store == ("mongo" if service.collections else "postgres")
    assert SERVICES[name].has_celery == (service.tasks is not None)
    assert SERVICES[name].has_dead_rows == (service.dead_rows is not None)
    assert SERVICES[name].has_queue == (service.handlers is not None or service.tasks is not None)


def test_a_folder_with_an_app_is_a_service_the_console_or_the_gateway() -> None:
    assert {path.parent.name for path in REPOSITORY.glob("services/*/app.py")} == {*SERVICES, "console", "gateway"}
