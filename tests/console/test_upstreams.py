"""With a service down, its pages say so, and the others work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient

from launcher.stack import Stack
from services.console.api import SERVICES
from services.console.app import create_app
from services.console.settings import ConsoleSettings
from tests.installation import PASSWORD, Person
from tests.operations import address

KEY = "A" * 43 + "="
NOWHERE = "http://127.0.0.1:9"

NEEDED = {
    "users": ["/account/"],
    "products": ["/shop/"],
    "orders": ["/account/orders/", "/account/orders/{order}"],
    "payments": ["/account/orders/{order}"],
    "notifications": ["/account/", "/account/orders/{order}"],
}
"""Pages that show something of each."""


@pytest.fixture(scope="module")
def leila(stack: Stack) -> Person:
    return Person(stack.gateway_url).sign_up()


@pytest.fixture
def order(leila: Person, product: Callable[[int], str]) -> str:
    placed: str = leila.order(product(5))["id"]
    return placed


@contextmanager
def console(stack: Stack, leila: Person, down: str) -> Iterator[FlaskClient]:
    """A console that does not reach `down`, with her logged in."""
    found = {name: NOWHERE if name == down else address(stack, name) for name in SERVICES}
    app = create_app(ConsoleSettings.use(session_keys=[KEY], services=found, discovery="static"))
    with app.test_client() as client:
        with client.session_transaction() as session:
            access = leila.headers["Authorization"].removeprefix("Bearer ")
            session["tokens"] = {"access": access, "refresh": leila.refresh_token, "until": 1e12, "name": "Leila"}
        yield client


@pytest.mark.parametrize("down", SERVICES)
def test_pages_say_which_service_is_missing(stack: Stack, leila: Person, order: str, down: str) -> None:
    with console(stack, leila, down) as client:
        home = client.get("/")
        assert home.status_code == 200
        assert home.text.count("Does not respond") == 1
        for page in NEEDED[down]:
            response = client.get(page.format(order=order))
            assert response.status_code in (200, 503)
            assert f"{down} service does" in " ".join(response.text.split()), response.text


def test_a_login_without_the_users_service_says_so(stack: Stack, leila: Person) -> None:
    with console(stack, leila, "users") as client:
        client.get("/account/login")
        with client.session_transaction() as session:
            session.pop("tokens")
            session["csrf"] = "token"
        form = {"csrf": "token", "email": leila.email, "password": PASSWORD}
        response = client.post("/account/login", data=form)
        assert response.status_code == 503
        assert "users service does not respond" in response.text


def test_every_service_is_in_the_table() -> None:
    assert set(NEEDED) == set(SERVICES)
