"""Placing orders while the products service is slow or returns invalid responses."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
def faulty_products(orders: Service) -> Iterator[Faulty]:
    """In the place of the products service."""
    before = orders.settings
    with faulty() as server:
        Settings.use(**{**before.model_dump(), "services": {"products": server.url}})
        yield server
    Settings.use(**before.model_dump())


def body() -> dict[str, Any]:
    return order_of(({"id": str(uuid4())}, 1))


def test_slow_products_delay_only_the_placing_of_orders(
    placed: dict[str, Any], faulty_products: Faulty, http: FlaskClient, customer: dict[str, str]
) -> None:
    faulty_products.hangs = True
    response = http.post("/orders/", json=body(), headers={**customer, **fresh_key(), HEADER: "300"})
    assert (response.status_code, response.mimetype) == (504, "application/problem+json")
    assert http.get(f"/orders/{placed['id']}", headers=customer).status_code == 200
    assert http.delete(f"/orders/{placed['id']}", headers=customer).status_code == 204


@pytest.mark.parametrize("body_sent", [b"<html>", b"[]", b'{"items": [{"id": 7}]}', b'{"items": null}'])
def test_with_invalid_responses_from_products_nothing_is_ordered(
    faulty_products: Faulty, http: FlaskClient, customer: dict[str, str], body_sent: bytes
) -> None:
    faulty_products.body = body_sent
    response = http.post("/orders/", json=body(), headers=customer | fresh_key())
    assert (response.status_code, response.json["type"]) == (502, "/problems/bad-gateway")
    assert http.get("/orders/", headers=customer).json["items"] == []


def test_a_burst_waits_for_slow_products(
    faulty_products: Faulty, http: FlaskClient, orders: Service, customer: dict[str, str]
) -> None:
    wanted = body()
    product = {"id": wanted["lines"][0]["product_id"], "name": "Tea", "category": "tea", "amount": 250}
    faulty_products.respond_with({"items": [product | {"currency": "EUR", "is_active": True}]})
    faulty_products.hangs = True

    def place(_: int) -> int:
        client = http.application.test_client()
        return client.post("/orders/", json=wanted, headers=customer | fresh_key()).status_code

    # As many as there are threads: twice the slots.
    with ThreadPoolExecutor(orders.settings.threads) as pool:
        placing = pool.map(place, range(orders.settings.threads))
        faulty_products.wait_for(orders.settings.threads // 2)
        threading.Timer(0.8, faulty_products.released.set).start()
        assert list(placing) == [201] * orders.settings.threads


def test_orders_calls_products_with_its_own_key(
    faulty_products: Faulty, http: FlaskClient, customer: dict[str, str]
) -> None:
    faulty_products.respond_with({"items": []})
    http.post("/orders/", json=body(), headers=customer | fresh_key())
    ((method, target, headers, _),) = faulty_products.seen
    assert (method, target.partition("?")[0]) == ("GET", "/internal/products")
    assert headers["X-API-Key"]
    assert "Authorization" not in headers
