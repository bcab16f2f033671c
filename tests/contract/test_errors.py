"""Whatever is sent, an error is short: it lists ten faults at most."""

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from chassis.base.problems import MAX_ERRORS
from chassis.run.service import Service
from chassis.run.testing import bearer
from launcher.manifests import SERVICES
from tests.conftest import prepare

MANY = 1_000
MAX_BYTES = 8_000

JUNK: list[Any] = [
    {f"unknown {number}": number for number in range(MANY)},
    [{"unknown": number} for number in range(MANY)],
    ["x"] * MANY,
    "x" * MANY,
    "\u202e" * MANY,
    [[[[[[[[{}]]]]]]]] * MANY,
    -MANY,
]


def bodies(schema: dict[str, Any]) -> Iterator[Any]:
    """Junk in place of the whole body, and of each of its fields."""
    yield from JUNK
    for name in schema.get("properties", {}):
        yield from ({name: junk} for junk in JUNK)
    yield {name: JUNK[number % len(JUNK)] for number, name in enumerate(schema.get("properties", {}))}


def requests(document: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Method, path and query, body."""
    for path, item in document["paths"].items():
        url = path
        for name in {part[1:-1] for part in path.split("/") if part.startswith("{")}:
            url = url.replace(f"{{{name}}}", str(uuid4()))
        for method, operation in item.items():
            body = operation.get("requestBody")
            if body is not None:
                reference = body["content"]["application/json"]["schema"]["$ref"]
                schema = document["components"]["schemas"][reference.rpartition("/")[2]]
                yield from ((method, url, junk) for junk in bodies(schema))
            yield method, url + "?" + "&".join(f"unknown{number}=1" for number in range(MANY // 10)), None
            names = [each["name"] for each in operation["parameters"] if each["in"] == "query"]
            yield from ((method, f"{url}?{name}={'x,' * MANY}", None) for name in names)


@pytest.mark.parametrize("name", SERVICES)
def test_an_error_lists_at_most_ten_at_every_endpoint(
    name: str,
    request: pytest.FixtureRequest,
    make_database: Callable[[str], str],
    client: Callable[[Service], FlaskClient],
) -> None:
    try:
        service: Service = request.getfixturevalue(name)
    except pytest.FixtureLookupError:  # a new service's fixture is in its own folder
        service = prepare(name, make_database)
    http = client(service)
    refused = 0
    for method, url, body in requests(http.get("/openapi.json").get_json()):
        headers = {**bearer(service, uuid4(), "admin"), "Idempotency-Key": str(uuid4()), "If-Match": "*"}
        if url.startswith("/internal/"):
            headers = {"X-API-Key": "notifications-key" if name == "users" else "orders-key"}
        response = http.open(
            url,
            method=method.upper(),
            headers=headers,
            data=None if body is None else json.dumps(body),
            content_type=None if body is None else "application/json",
        )
        assert response.status_code < 500, (method, url[:80])
        if response.status_code >= 400:
            refused += 1
            assert len(response.data) <= MAX_BYTES, (method, url[:80], len(response.data))
            assert len((response.get_json() or {}).get("errors", [])) <= MAX_ERRORS
    assert refused > 10
