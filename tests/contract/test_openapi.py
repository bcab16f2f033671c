"""What the services say of themselves to those who read the API's page."""

import pytest

from chassis.run.service import Service
from tests.conftest import app_of


@pytest.mark.parametrize("name", ["users", "products", "orders", "payments", "notifications"])
def test_every_operation_says_what_it_does(request: pytest.FixtureRequest, name: str) -> None:
    service: Service = request.getfixturevalue(name)
    paths = app_of(service).test_client().get("/openapi.json").json["paths"]
    summaries = {
        f"{method} {path}": operation["summary"] for path, of in paths.items() for method, operation in of.items()
    }
    # SpecTree writes "get <GET>" for a method without a docstring.
    assert [operation for operation, summary in summaries.items() if "<" in summary or not summary] == []
