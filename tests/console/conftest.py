from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from launcher.stack import Stack
from services.console.api import SERVICES
from services.console.app import create_app
from services.console.settings import ConsoleSettings
from tests.console.visitor import Visitor
from tests.installation import PASSWORD, Person
from tests.operations import address, openapi_url

NewVisitor = Callable[[], Visitor]
LogIn = Callable[[Person], Visitor]


KEY = "A" * 43 + "="


@pytest.fixture(scope="session")
def served(stack: Stack, serve: Callable[[Any], str]) -> tuple[str, dict[str, Any]]:
    """Of a console in this process, on the installation's services: its address and settings."""
    found = {name: address(stack, name) for name in SERVICES}
    settings = {"session_keys": [KEY], "services": found, "discovery": "static", "openapi_url": openapi_url(stack)}
    return serve(create_app(ConsoleSettings.use(**settings))), settings


@pytest.fixture
def url(served: tuple[str, dict[str, Any]]) -> str:
    address, settings = served
    # Other tests have consoles of their own.
    ConsoleSettings.use(**settings)
    return address


@pytest.fixture
def visitor(url: str) -> Visitor:
    """Nobody that the shop knows."""
    return Visitor(url)


@pytest.fixture
def log_in(url: str) -> LogIn:
    """A function that logs a person in by the form."""

    def entered(person: Person) -> Visitor:
        visitor = Visitor(url)
        form = visitor.get("/account/login").form("/account/login")
        page = visitor.send(form, email=person.email, password=PASSWORD)
        assert (page.status, page.url) == (200, "/shop/")
        return visitor

    return entered


@pytest.fixture
def customer(visitor: Visitor) -> Visitor:
    """Registered by the form."""
    name = f"leila.{uuid4().hex[:10]}"
    form = visitor.get("/account/register").form("/account/register")
    page = visitor.send(
        form, email=f"{name}@example.com", username=name, first_name="Leila", last_name="Haddad", password=PASSWORD
    )
    assert page.status == 200, page.text
    return visitor
