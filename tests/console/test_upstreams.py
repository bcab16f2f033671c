"""With a service down, its pages say so, and the others work."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from launcher.stack import Stack
from services.console.api import SERVICES
from services.console.app import create_app
from services.console.settings import ConsoleSettings
from tests.installation import PASSWORD, Person, until
from tests.operations import address

KEY = "A" * 43 + "="
NOWHERE = "http://127.0.0.1:9"

NEEDED = {
    "users": {"/account/": 200},
    "products": {"/shop/": 503},
    "orders": {"/account/orders/": 503, "/account/orders/{order}": 503},
    "payments": {"/account/orders/{order}": 200},
    "notifications": {"/account/": 200, "/account/orders/{order}": 200},
}
"""Pages that show something of each, with their status without it: 200 where they show the rest."""


@pytest.fixture(scope="module")
def leila(stack: Stack) -> Person:
    return Person(stack.gateway_url).sign_up()


@pytest.fixture
def order(leila: Person, product: Callable[[int], str]) -> str:
    placed: str = leila.order(product(5))["id"]
    return placed


@contextmanager
def console(
    stack: Stack, leila: Person, down: str = "", lasts_until: float = 1e12, where: str = NOWHERE, **settings: Any
) -> Iterator[FlaskClient]:
    """A console that does not reach `down`, with her logged in. lasts_until: her access token is thought to last."""
    found = {name: where if name == down else address(stack, name) for name in SERVICES}
    app = create_app(ConsoleSettings.use(session_keys=[KEY], services=found, discovery="static", **settings))
    with app.test_client() as client:
        with client.session_transaction() as session:
            access = leila.headers["Authorization"].removeprefix("Bearer ")
            session["tokens"] = {
                "access": access,
                "refresh": leila.refresh_token,
                "until": lasts_until,
                "name": "Leila",
            }
        yield client


def damaged(token: str) -> str:
    return token[:-8] + "A" * 8


@pytest.mark.parametrize("down", SERVICES)
def test_pages_say_which_service_is_missing(stack: Stack, leila: Person, order: str, down: str) -> None:
    with console(stack, leila, down) as client:
        # A slow machine may let others miss a probe.
        until(lambda: client.get("/").text.count("Does not respond") == 1)
        for page, status in NEEDED[down].items():
            response = client.get(page.format(order=order))
            assert response.status_code == status
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


def test_what_anyone_may_see_is_seen_when_a_session_cannot_be_renewed(stack: Stack, leila: Person) -> None:
    with console(stack, leila, "users", lasts_until=0) as client:
        assert client.get("/shop/").status_code == 200
        # The token still serves.
        assert client.get("/account/orders/").status_code == 200
        with client.session_transaction() as session:
            session["tokens"] = session["tokens"] | {"access": damaged(session["tokens"]["access"])}
        assert client.get("/shop/").status_code == 200
        own = client.get("/account/orders/")
        assert own.status_code == 503
        assert "users service does not respond" in own.text


def test_a_refused_token_is_renewed_once(stack: Stack, person: Callable[[], Person]) -> None:
    """As when roles change: it ends, and the session does not."""
    mina = person()
    with console(stack, mina) as client:
        with client.session_transaction() as session:
            session["tokens"] = session["tokens"] | {"access": damaged(session["tokens"]["access"])}
        assert client.get("/account/").status_code == 200
        with client.session_transaction() as session:
            assert session["tokens"]["refresh"] != mina.refresh_token
            damage = {"access": damaged(session["tokens"]["access"]), "refresh": "nonsense"}
            session["tokens"] = session["tokens"] | damage
        assert client.get("/account/").status_code == 302


def test_a_logout_that_did_not_reach_the_users_service_is_not_silent(stack: Stack, leila: Person) -> None:
    with console(stack, leila, "users") as client:
        client.get("/")
        with client.session_transaction() as session:
            token = session["csrf"]
        page = client.post("/account/logout", data={"csrf": token}, follow_redirects=True)
        assert "did not end the session" in page.text
        assert "Log in" in page.text


@pytest.fixture
def unready() -> Iterator[str]:
    """The URL of a service whose database is down."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"status": "not ready", "checks": {"database": "OperationalError"}}')

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_service_that_is_not_ready_says_what_it_misses(stack: Stack, leila: Person, unready: str) -> None:
    with console(stack, leila, "payments", where=unready) as client:
        assert "Without its database" in client.get("/").text


def test_an_orders_page_has_its_spans_and_log_lines(stack: Stack, staff: Person, order: str, observers: str) -> None:
    with console(stack, staff, traces_url=observers, logs_url=observers) as client:
        for path in (f"/staff/orders/{order}", f"/staff/requests/{uuid4()}"):
            page = client.get(path).text
            for part in (
                "POST orders-all",
                "&lt;i&gt;smtp&lt;/i&gt; send",
                "02:04:28.311",
                "&lt;b&gt;refused&lt;/b&gt;",
            ):
                assert part in page
            # The second lasts from the second fifth to the end.
            assert '<svg class="bad" viewBox="0 0 100 8" preserveAspectRatio="none"><rect x="20.0" width="80.0"' in page
        assert client.get(f"/staff/find?q={uuid4()}").location.startswith("/staff/requests/")


def test_an_orders_page_says_that_jaeger_or_victorialogs_is_down(
    stack: Stack, staff: Person, order: str, observers: str
) -> None:
    with console(stack, staff, traces_url=NOWHERE, logs_url=observers) as client:
        page = client.get(f"/staff/orders/{order}").text
        assert "Jaeger does not respond" in page
        assert "refused" in page
    with console(stack, staff, traces_url=observers, logs_url=NOWHERE) as client:
        page = client.get(f"/staff/orders/{order}").text
        assert "VictoriaLogs does not respond" in page
        assert "POST orders-all" in page


def test_no_alert_is_denied_while_prometheus_is_unreachable(stack: Stack, staff: Person) -> None:
    with console(stack, staff, prometheus_url=NOWHERE) as client:
        page = client.get("/staff/").text
        assert "whether an alert is firing is not known" in page
        assert "No alert is firing" not in page


def test_the_overview_shows_figures_and_what_to_do_about_each_alert(
    stack: Stack, staff: Person, prometheus: str
) -> None:
    with console(stack, staff, prometheus_url=prometheus) as client:
        page = client.get("/staff/").text
    assert "<code>./souk dead list</code>" in page
    assert "<strong>Fix:</strong>" in page
    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    for part in (
        "DeadLetters is firing, payments.dead",
        "Unknown is firing",
        "Dead letters 1,234",
        "orders 7 ready",
        "orders-web to products open",
        "EdgeErrors 25% left",
        "MailsSlow used up",
    ):
        assert part in text, text
    for bad in ("1,234", "open", "used up"):
        assert f'<dd class="bad">{bad}</dd>' in page
    for well in ("7", "7 ready", "25% left"):
        assert f"<dd>{well}</dd>" in page


def test_production_shows_customers_neither_servers_nor_test_cards(
    stack: Stack, leila: Person, product: Callable[[int], str]
) -> None:
    with console(stack, leila, environment="production") as client:
        home = client.get("/").text
        assert "Welcome" in home
        assert "Ready" not in home
        with client.session_transaction() as session:
            session["basket"] = {product(5): 1}
        assert "no means of payment" in client.get("/account/orders/checkout").text
        card = {"token": "tok_success", "label": "My blue card"}
        leila.call("POST", "/payments/methods", card)
        checkout = client.get("/account/orders/checkout").text
        assert "My blue card" in checkout
        assert "4242" not in checkout


def test_every_service_is_in_the_table() -> None:
    assert set(NEEDED) == set(SERVICES)
