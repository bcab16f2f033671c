"""Requests made from each service's own OpenAPI document, such as it allows and such as it does not: never a 5xx, and never an
answer that the document does not name, in a shape that it does not describe."""

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

from launcher.services import SERVICES
from launcher.stack import Stack
from tests.installation import Person

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
REQUESTS = 12
"""To each operation, of either kind."""

NOT_FUZZED = {
    # They would end the session that the fuzzing itself uses.
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
def test_no_request_meets_an_error_or_an_answer_outside_the_document(
    stack: Stack, admin: Person, service: str, mode: GenerationMode
) -> None:
    headers = {**admin.headers, "Idempotency-Key": "fuzzing"}
    wrong = []
    for operation in operations(stack, service):
        # Idempotency keys are the cases' own where they have some; a key used for another body would hide the handler.
        @hypothesis.settings(
            max_examples=REQUESTS,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=False,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate],
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode), key=strategies.uuids())
        def ask(case: schemathesis.Case, key: object) -> None:
            response = case.call(headers={**headers, "Idempotency-Key": str(key)}, timeout=30)
            case.validate_response(response, checks=CHECKS)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ask()
            except hypothesis.errors.Unsatisfiable:
                continue  # An operation without input has none that is not allowed.
            except Exception as error:  # schemathesis raises groups of its failures
                wrong.append(f"{operation.label}: {_told(error)}")
    assert not wrong, "\n".join(wrong)


def _told(error: BaseException) -> str:
    inner = getattr(error, "exceptions", None)
    return " | ".join(map(_told, inner)) if inner else f"{type(error).__name__}: {error}"[:800]
