"""Valid and invalid requests generated from each OpenAPI document never get a 5xx or an undocumented response."""

import warnings
from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
import urllib3
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from launcher.manifests import SERVICES
from launcher.stack import Stack
from tests.installation import Person

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
REQUESTS = 12
"""Per operation and mode."""

NOT_FUZZED = {
    # They would end the session that the test uses.
    ("POST", "/users/logout"),
    ("POST", "/users/logout/everywhere"),
    ("DELETE", "/users/me"),
}


def operations(stack: Stack, service: str) -> Iterator[schemathesis.APIOperation]:  # type: ignore[type-arg]
    address = f"http://127.0.0.1:{stack.installation.ports[f'{service}-web']}"
    document = urllib3.request("GET", f"{address}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=address)
    for each in schema.get_all_operations():
        operation = each.ok()
        if (operation.method.upper(), operation.path) not in NOT_FUZZED:
            yield operation


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
@pytest.mark.parametrize("service", SERVICES)
def test_no_request_gets_a_5xx_or_an_undocumented_response(
    stack: Stack, admin: Person, service: str, mode: GenerationMode
) -> None:
    headers = {**admin.renew().headers, "Idempotency-Key": "fuzzing"}
    wrong = []
    for operation in operations(stack, service):
        # A new Idempotency-Key each, as a reused one would bypass the handler.
        @hypothesis.settings(
            max_examples=REQUESTS,
            database=None,
            print_blob=False,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode), key=strategies.uuids())
        def send(case: schemathesis.Case, key: object) -> None:
            response = case.call(headers={**headers, "Idempotency-Key": str(key)}, timeout=30)
            case.validate_response(response, checks=CHECKS)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                send()
            except hypothesis.errors.Unsatisfiable:
                continue  # An operation without input has no invalid input.
            except Exception as error:  # schemathesis raises groups of its failures
                wrong.append(f"{operation.label}: {_summary(error)}")
    assert not wrong, "\n".join(wrong)


def _summary(error: BaseException) -> str:
    inner = getattr(error, "exceptions", None)
    return " | ".join(map(_summary, inner)) if inner else f"{type(error).__name__}: {error}"[:800]
