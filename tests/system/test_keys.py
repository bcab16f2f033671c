"""Keys are rotated in a running installation without an effect on its users."""

import threading
from typing import Any

import jwt
import pytest

from launcher.stack import Stack
from tests.installation import Person


class Customer(threading.Thread):
    """Sends requests to every service until stopped, and keeps the failures."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self.person, self.stopping = person, threading.Event()
        self.count, self.refused = 0, list[tuple[str, int, bytes]]()

    def run(self) -> None:
        paths = ["/users/me", "/orders/", f"/payments/user/{self.person.id}", f"/notifications/{self.person.id}"]
        while not self.stopping.is_set():
            for path in paths:
                response = self.person.send("GET", path)
                self.count += 1
                if response.status != 200:
                    self.refused.append((path, response.status, response.data))


def key_of(person: Person) -> Any:
    return jwt.get_unverified_header(person.headers["Authorization"].removeprefix("Bearer "))


@pytest.mark.parametrize("algorithm", ["EdDSA", "HS256"])
def test_a_rotation_drops_no_session_and_no_request(stack: Stack, person, product, algorithm) -> None:
    user, article = person(), product(5)
    customer = Customer(user)
    customer.start()
    try:
        key_id = stack.rotate_keys(algorithm)
        new_user = person()
        # Orders calls products with its new API key.
        order = new_user.settled(new_user.order(article)["id"])
        enough = customer.count + 50
        while customer.count < enough and customer.is_alive():
            new_user.call("GET", "/users/me")
    finally:
        customer.stopping.set()
        customer.join()
    assert customer.refused == []
    assert (key_of(new_user)["kid"], key_of(new_user)["alg"]) == (key_id, algorithm)
    assert key_of(user)["kid"] != key_id
    assert order["status"] == "confirmed"
    shown = user.call("GET", "/users/.well-known/jwks.json")["keys"]
    assert (key_id in [key["kid"] for key in shown]) == (algorithm == "EdDSA")


def test_the_rotation_is_in_the_audit_trail(stack: Stack, admin) -> None:
    key_id = stack.rotate_keys("HS256")
    (event, *_) = admin.call("GET", "/users/security-events")["items"]
    assert (event["kind"], event["details"]) == ("keys.rotated", {"key_id": key_id, "by": "operator"})


def test_a_logout_reaches_every_service_within_seconds(person) -> None:
    from tests.installation import until

    user = person()
    user.call("GET", "/orders/")
    assert user.send("POST", "/users/logout").status == 204
    for path in ("/users/me", "/orders/", f"/payments/user/{user.id}", f"/notifications/{user.id}"):
        until(lambda path=path: user.send("GET", path).status == 401, seconds=5)


def test_failed_logins_are_counted_by_the_address_that_the_edge_sees(stack: Stack, admin) -> None:
    visitor = Person(stack.gateway_url)
    body = {"email": visitor.email, "password": "wrong password"}
    assert visitor.send("POST", "/users/login", body, **{"X-Forwarded-For": "203.0.113.9"}).status == 401
    failed = [e for e in admin.call("GET", "/users/security-events")["items"] if e["kind"] == "login.failed"]
    assert failed[0]["address"] == "127.0.0.1"
