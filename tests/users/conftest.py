"""The users service over HTTP, and people to use it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from chassis import redis
from chassis.service import Service
from services.users import staff

PASSWORD = "correct horse battery"

Register = Callable[..., TestResponse]


def person(name: str = "ada", **changes: Any) -> dict[str, Any]:
    """A registration that is accepted, unless `changes` spoil it."""
    return {
        "email": f"{name}@example.com",
        "username": name,
        "password": PASSWORD,
        "first_name": name.title(),
        "last_name": "Lovelace",
        **changes,
    }


@pytest.fixture
def http(client: Callable[[Service], FlaskClient], users: Service) -> FlaskClient:
    return client(users)


@pytest.fixture
def register(http: FlaskClient) -> Register:
    """Registers a person; gives the account."""

    def post(name: str = "ada", **changes: Any) -> Any:
        answer = http.post("/users/register", json=person(name, **changes))
        assert answer.status_code == 201, answer.text
        return answer.json

    return post


@pytest.fixture
def log_in(http: FlaskClient) -> Callable[..., TestResponse]:
    def post(email: str = "ada@example.com", password: str = PASSWORD) -> TestResponse:
        return http.post("/users/login", json={"email": email, "password": password})

    return post


@pytest.fixture
def make_staff(users: Service) -> Callable[[str, str], None]:
    """What an operator does to give an account a role."""

    def run(email: str, role: str) -> None:
        staff.main(["--email", email, "--role", role])

    return run


@pytest.fixture(autouse=True)
def _no_counts(users: Service) -> Iterator[None]:
    """What was counted of attempts is forgotten after each test."""
    yield
    counted = redis.client(users.settings.redis_url)
    for key in counted.scan_iter("souk:users:*"):
        counted.delete(key)
