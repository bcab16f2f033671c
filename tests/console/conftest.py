from collections.abc import Callable
from uuid import uuid4

import pytest

from launcher.stack import Stack
from tests.console.visitor import Visitor
from tests.installation import PASSWORD, Person

NewVisitor = Callable[[], Visitor]
LogIn = Callable[[Person], Visitor]


@pytest.fixture
def visitor(stack: Stack) -> Visitor:
    """Nobody that the shop knows."""
    return Visitor(stack.gateway_url)


@pytest.fixture
def log_in(stack: Stack) -> LogIn:
    """A function that logs a person in by the form."""

    def entered(person: Person) -> Visitor:
        visitor = Visitor(stack.gateway_url)
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
