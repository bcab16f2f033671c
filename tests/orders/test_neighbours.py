"""What becomes of orders while the products service is slow or talks nonsense."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from chassis.base.deadline import HEADER
from chassis.run.service import Service
from services.orders.settings import Settings
from tests.chassis.faulty import Faulty, faulty
from tests.orders.conftest import fresh_key, order_of


@pytest.fixture
def ill_products(orders: Service) -> Iterator[Faulty]:
    """In the place of the products service."""
    before = orders.settings
    with faulty() as ill:
        Settings.use(**{**before.model_dump(), "services": {"products": ill.url}})
        yield ill
    Settings.use(**before.model_dump())


def body() -> dict[str, Any]:
    return order_of(({"id": str(uuid4())}, 1))


def test_a_slow_products_costs_the_order_and_nothing_else(
    placed: dict[str, Any], ill_products: Faulty, http: FlaskClient, customer: dict[str, str]
) -> None:
    ill_products.hangs = True
    answer = http.post("/orders/", json=body(), headers={**customer, **fresh_key(), HEADER: "300"})
    assert (answer.status_code, answer.mimetype) == (504, "application/problem+json")
    assert http.get(f"/orders/{placed['id']}", headers=customer).status_code == 200
    assert http.delete(f"/orders/{placed['id']}", headers=customer).status_code == 204


@pytest.mark.parametrize("said", [b"<html>", b"[]", b'{"items": [{"id": 7}]}', b'{"items": null}'])
def test_a_products_that_talks_nonsense_sells_nothing(
    ill_products: Faulty, http: FlaskClient, customer: dict[str, str], said: bytes
) -> None:
    ill_products.body = said
    answer = http.post("/orders/", json=body(), headers=customer | fresh_key())
    assert (answer.status_code, answer.json["type"]) == (502, "/problems/bad-gateway")
    assert http.get("/orders/", headers=customer).json["items"] == []


def test_orders_shows_products_its_own_key(ill_products: Faulty, http: FlaskClient, customer: dict[str, str]) -> None:
    ill_products.respond_with({"items": []})
    http.post("/orders/", json=body(), headers=customer | fresh_key())
    ((method, target, headers, _),) = ill_products.seen
    assert (method, target.partition("?")[0]) == ("GET", "/internal/products")
    assert headers["X-API-Key"]
    assert "Authorization" not in headers
