"""Bad requests are rejected by the edge or the service, as problem+json that names the field; never a 500."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest

from chassis.base import clock
from launcher.stack import Stack
from tests.installation import Person, signed

SignUp = Callable[[], Person]
Sell = Callable[[int], str]


def line(**changes: Any) -> dict[str, Any]:
    return {"lines": [{"product_id": str(uuid4()), "quantity": 1, **changes}], "payment_method": "tok_success"}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("POST", "/orders/", b"{not json", 400, None),
        ("POST", "/orders/", b"", 400, None),
        ("POST", "/orders/", [], 422, "body"),
        ("POST", "/orders/", {"payment_method": "tok_success"}, 422, "lines"),
        ("POST", "/orders/", line(quantity="two"), 422, "lines.0.quantity"),
        ("POST", "/orders/", line(quantity=0), 422, "lines.0.quantity"),
        ("POST", "/orders/", line(price="0.01"), 422, "lines.0.price"),
        ("POST", "/orders/", line(), 422, "lines.0.product_id"),
        ("GET", "/orders/?limit=many", None, 422, "limit"),
        ("GET", "/orders/not-an-id", None, 404, None),
        ("GET", f"/orders/{UUID(int=1)}", None, 404, None),
        ("GET", f"/payments/{UUID(int=1)}", None, 404, None),
        ("POST", "/users/login", {"email": "nobody@example.com", "password": "wrong wrong wrong"}, 401, None),
        ("POST", "/users/register", {"email": "x", "username": "y", "password": "z"}, 422, "email"),
        (
            "POST",
            "/payments/process",
            {"amount": 12.5, "currency": "EUR", "payment_method": "tok_success"},
            422,
            "amount",
        ),
        ("GET", "/no/such/path", None, 404, None),
        ("PATCH", "/orders/", {}, 404, None),
    ],
)
def test_a_bad_request_is_a_problem_that_names_the_field(
    person: SignUp, method: str, path: str, body: Any, status: int, field: str | None
) -> None:
    response = person().send(method, path, body, **{"Idempotency-Key": uuid4().hex})
    assert response.status == status, response.data
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert b"Traceback" not in response.data
    errors = json.loads(response.data).get("errors", [])
    assert [wrong["field"] for wrong in errors][:1] == ([field] if field else [])


def test_a_huge_body_is_refused(person: SignUp) -> None:
    response = person().send("POST", "/orders/", b"x" * 2_000_000, **{"Idempotency-Key": "k"})
    assert (response.status, response.headers["Content-Type"]) == (413, "application/problem+json")


def test_another_users_order_is_not_found(person: SignUp, product: Sell) -> None:
    leila, omar = person(), person()
    order_id = leila.order(product(1))["id"]
    for method in ("GET", "DELETE"):
        response = omar.send(method, f"/orders/{order_id}")
        assert (response.status, response.headers["Content-Type"]) == (404, "application/problem+json")


def test_an_expired_token_is_refused(stack: Stack, person: SignUp) -> None:
    leila = person()
    claims = jwt.decode(leila.headers["Authorization"].split()[1], options={"verify_signature": False})
    stale = signed(stack, {**claims, "exp": clock.now() - timedelta(minutes=1)})
    response = leila.send("GET", "/orders/", Authorization=f"Bearer {stale}")
    assert (response.status, response.headers["Content-Type"]) == (401, "application/problem+json")
    assert "expired" in json.loads(response.data)["detail"]


@pytest.mark.parametrize(
    "path",
    ["/internal/products?ids=x", "/metrics", "/health/ready", "/orders/../internal/products", "/users/%2e%2e/metrics"],
)
def test_what_is_not_public_cannot_be_reached(person: SignUp, path: str) -> None:
    assert person().send("GET", path).status == 404


def test_without_a_token_only_open_routes_respond(stack: Stack) -> None:
    visitor = Person(stack.gateway_url)
    assert visitor.send("GET", "/products/").status == 200
    assert visitor.send("GET", "/products/categories").status == 200
    for path in ("/orders/", f"/payments/user/{uuid4()}", f"/notifications/{uuid4()}", "/users/me"):
        assert visitor.send("GET", path).status == 401
