"""Keys are replaced in a running installation, and nobody who is at work notices."""

import threading
from typing import Any

import jwt
import pytest

from launcher.stack import Stack
from tests.installation import Person


class Customer(threading.Thread):
    """Asks, of every service, until told to stop; keeps what was not answered well."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self.person, self.stopping = person, threading.Event()
        self.asked, self.refused = 0, list[tuple[str, int, bytes]]()

    def run(self) -> None:
        paths = ["/users/me", "/orders/", f"/payments/user/{self.person.id}", f"/notifications/{self.person.id}"]
        while not self.stopping.is_set():
            for path in paths:
                answer = self.person.send("GET", path)
                self.asked += 1
                if answer.status != 200:
                    self.refused.append((path, answer.status, answer.data))


def key_of(person: Person) -> Any:
    return jwt.get_unverified_header(person.headers["Authorization"].removeprefix("Bearer "))


@pytest.mark.parametrize("algorithm", ["EdDSA", "HS256"])
def test_a_rotation_drops_no_session_and_no_request(stack: Stack, person, product, algorithm) -> None:
    known, article = person(), product(5)
    customer = Customer(known)
    customer.start()
    try:
        key_id = stack.rotate_keys(algorithm)
        newcomer = person()
        # Orders asks products, with an API key that is new as well.
        order = newcomer.settled(newcomer.order(article)["id"])
        enough = customer.asked + 50
        while customer.asked < enough and customer.is_alive():
            newcomer.ask("GET", "/users/me")
    finally:
        customer.stopping.set()
        customer.join()
    assert customer.refused == []
    assert (key_of(newcomer)["kid"], key_of(newcomer)["alg"]) == (key_id, algorithm)
    assert key_of(known)["kid"] != key_id
    assert order["status"] == "confirmed"
    shown = known.ask("GET", "/users/.well-known/jwks.json")["keys"]
    assert (key_id in [key["kid"] for key in shown]) == (algorithm == "EdDSA")


def test_the_rotation_is_in_the_audit_trail(stack: Stack, admin) -> None:
    key_id = stack.rotate_keys("HS256")
    (event, *_) = admin.ask("GET", "/users/security-events")["items"]
    assert (event["kind"], event["details"]) == ("keys.rotated", {"key_id": key_id, "by": "operator"})


def test_a_logout_is_heard_by_every_service_within_seconds(person) -> None:
    from tests.installation import until

    somebody = person()
    somebody.ask("GET", "/orders/")
    assert somebody.send("POST", "/users/logout").status == 204
    for path in ("/users/me", "/orders/", f"/payments/user/{somebody.id}", f"/notifications/{somebody.id}"):
        until(lambda path=path: somebody.send("GET", path).status == 401, seconds=5)


def test_failed_logins_are_counted_by_the_address_that_the_edge_saw(stack: Stack, admin) -> None:
    stranger = Person(stack.gateway_url)
    body = {"email": stranger.email, "password": "wrong password"}
    assert stranger.send("POST", "/users/login", body, **{"X-Forwarded-For": "203.0.113.9"}).status == 401
    failed = [e for e in admin.ask("GET", "/users/security-events")["items"] if e["kind"] == "login.failed"]
    assert failed[0]["address"] == "127.0.0.1"
