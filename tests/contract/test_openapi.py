"""What every service's OpenAPI document has to state."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from launcher.manifests import CALLERS, SERVICES
from tests.installation import ROOT, planned


@pytest.fixture(scope="module", params=SERVICES)
def document(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """A service's name and its document."""
    services = planned(tmp_path_factory.mktemp(request.param)).services
    services.keys.ensure()
    environment = {**os.environ, **services.environment(request.param, port=0)}
    command = [sys.executable, "-m", "chassis", "openapi", f"services.{request.param}"]
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return request.param, json.loads(printed.stdout)


def test_every_operation_has_a_summary(document: tuple[str, dict[str, Any]]) -> None:
    summaries = {
        f"{method} {path}": operation["summary"]
        for path, operations in document[1]["paths"].items()
        for method, operation in operations.items()
    }
    assert [operation for operation, summary in summaries.items() if not summary] == []


def test_operation_ids_are_unique(document: tuple[str, dict[str, Any]]) -> None:
    ids = [
        operation["operationId"] for operations in document[1]["paths"].values() for operation in operations.values()
    ]
    assert len(set(ids)) == len(ids)


def test_the_manifest_names_the_services_that_call(document: tuple[str, dict[str, Any]]) -> None:
    name, content = document
    allowed = {
        caller
        for operations in content["paths"].values()
        for operation in operations.values()
        for caller in operation["x-souk-allow"]["services"]
    }
    assert allowed == set(CALLERS[name])


def test_every_body_has_an_example_that_fits_its_schema(document: tuple[str, dict[str, Any]]) -> None:
    """Servers check more: tests/console/test_docs.py sends them all."""
    content = document[1]
    bodies = {
        f"{method} {path}": operation["requestBody"]["content"]["application/json"]
        for path, operations in content["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation
    }
    for title, body in bodies.items():
        schema = {**body["schema"], "components": content["components"]}
        wrong = [error.message for error in Draft202012Validator(schema).iter_errors(body["example"])]
        assert body["example"], title
        assert not wrong, title
