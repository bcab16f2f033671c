"""The reviews service on a database of its own, and its users."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.run.service import Service
from chassis.run.testing import bearer
from tests.conftest import empty, prepare

OWNER = UUID(int=1)


@pytest.fixture(scope="session")
def _reviews(make_database: Callable[[str], str]) -> Service:
    return prepare("reviews", make_database)


@pytest.fixture
def reviews(_reviews: Service) -> Iterator[Service]:
    yield _reviews
    empty(_reviews)


@pytest.fixture
def http(reviews: Service, client: Callable[[Service], FlaskClient]) -> FlaskClient:
    return client(reviews)


@pytest.fixture
def owner(reviews: Service) -> dict[str, str]:
    """The headers of the owner's requests."""
    return bearer(reviews, OWNER)


@pytest.fixture
def create(http: FlaskClient, owner: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Creates a review over the API, and returns it."""

    def post(text: str = "Holds a litre.", key: str = "") -> dict[str, Any]:
        headers = owner | {"Idempotency-Key": key or uuid4().hex}
        response = http.post("/reviews/", json={"text": text}, headers=headers)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json
        return created

    return post
