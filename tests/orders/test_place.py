"""Placing an order: at the shop's price, once, and only products for sale."""

from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.run.service import Service
from chassis.run.testing import System, bearer
from chassis.web.pagination import encode
from services.orders.settings import Settings
from tests.conftest import app_of
from tests.orders.conftest import CUSTOMER, fresh_key, order_of

Product = Callable[..., dict[str, Any]]


def test_an_order_is_placed_at_the_shops_price(http: FlaskClient, product: Product, customer: dict[str, str]) -> None:
    kettle, tea = product(), product(name="Mint tea", price="3.95")
    response = http.post("/orders/", json=order_of((kettle, 2), (tea, 3)), headers=customer | fresh_key())
    order = response.json
    assert response.status_code == 201
    assert response.headers["Location"] == f"/orders/{order['id']}"
    assert (order["status"], order["total_amount"], order["currency"]) == ("pending", "36.85", "EUR")
    assert order["user_id"] == str(CUSTOMER)
    assert [(line["name"], line["quantity"], line["unit_price"]) for line in order["lines"]] == [
        ("Copper kettle", 2, "12.50"),
        ("Mint tea", 3, "3.95"),
    ]
    assert http.get(response.headers["Location"], headers=customer).json == order


def test_a_placed_order_requests_its_stock(orders: Service, placed: dict[str, Any]) -> None:
    system = System([orders])
    system.drain()
    assert [envelope.type for envelope in system.sent] == ["stock.reserve"]
    assert system.sent[0].data == {
        "order_id": placed["id"],
        "quantities": {line["product_id"]: line["quantity"] for line in placed["lines"]},
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"lines": []}, "lines"),
        ({"lines": "two kettles"}, "lines"),
        ({"payment_method": "4242424242424242"}, "payment_method"),
        ({"payment_method": "tok_4242424242424242"}, "payment_method"),
        ({"payment_method": None}, "payment_method"),
        ({"total_amount": "0.01"}, "total_amount"),
        ({"lines": [{"product_id": "x", "quantity": 1}]}, "lines.0.product_id"),
        ({"lines": [{"product_id": str(uuid4()), "quantity": 0}]}, "lines.0.quantity"),
        ({"lines": [{"product_id": str(uuid4()), "quantity": "2"}]}, "lines.0.quantity"),
        ({"lines": [{"product_id": str(uuid4()), "quantity": 1}] * 51}, "lines"),
        ({"lines": [{"product_id": str(uuid4()), "quantity": 1}]}, "lines.0.product_id"),
    ],
)
def test_an_invalid_field_is_named(
    http: FlaskClient, product: Product, customer: dict[str, str], change: dict[str, Any], field: str
) -> None:
    response = http.post("/orders/", json={**order_of((product(), 1)), **change}, headers=customer | fresh_key())
    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == field
    assert http.get("/orders/", headers=customer).json["items"] == []


def test_a_product_listed_twice_is_refused(http: FlaskClient, product: Product, customer: dict[str, str]) -> None:
    kettle = product()
    response = http.post("/orders/", json=order_of((kettle, 1), (kettle, 2)), headers=customer | fresh_key())
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "lines")


def test_a_product_sold_in_another_currency_is_refused(
    http: FlaskClient, product: Product, customer: dict[str, str]
) -> None:
    response = http.post("/orders/", json=order_of((product(currency="USD"), 1)), headers=customer | fresh_key())
    assert response.json["errors"] == [{"field": "lines.0.product_id", "message": "is not sold in EUR"}]


def test_a_product_off_sale_is_refused_by_line(http: FlaskClient, product: Product, customer: dict[str, str]) -> None:
    body = order_of((product(), 1), (product(is_active=False), 1))
    response = http.post("/orders/", json=body, headers=customer | fresh_key())
    assert response.status_code == 422
    assert response.json["errors"] == [{"field": "lines.1.product_id", "message": "is not a product for sale"}]


def test_an_order_above_the_maximum_amount_is_refused_with_the_limit(
    http: FlaskClient, product: Product, customer: dict[str, str]
) -> None:
    largest, mint = product(price="999999.99"), product(price="0.01")
    assert http.post("/orders/", json=order_of((largest, 1)), headers=customer | fresh_key()).status_code == 201
    response = http.post("/orders/", json=order_of((largest, 1), (mint, 1)), headers=customer | fresh_key())
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "lines")
    assert "exceed the maximum amount of an order, 999999.99 EUR" in response.json["detail"]


def test_without_an_idempotency_key_nothing_is_ordered(
    http: FlaskClient, product: Product, customer: dict[str, str]
) -> None:
    response = http.post("/orders/", json=order_of((product(), 1)), headers=customer)
    assert (response.status_code, response.json["field"]) == (400, "Idempotency-Key")


def test_twenty_concurrent_repeats_of_a_request_place_one_order(
    orders: Service, http: FlaskClient, product: Product, customer: dict[str, str]
) -> None:
    body, headers = order_of((product(), 1)), customer | fresh_key()

    def send(_: int) -> str:
        response = app_of(orders).test_client().post("/orders/", json=body, headers=headers)
        assert response.status_code == 201, response.text
        return str(response.json["id"])

    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(send, range(20)))
    assert len(ids) == 1
    assert len(http.get("/orders/", headers=customer).json["items"]) == 1


def test_while_products_is_unavailable_an_order_is_refused_with_retry_after(
    orders: Service, http: FlaskClient, product: Product, customer: dict[str, str]
) -> None:
    body = order_of((product(), 1))
    before = orders.settings
    try:
        Settings.use(**{**before.model_dump(), "services": {"products": "http://127.0.0.1:1"}})
        response = http.post("/orders/", json=body, headers=customer | fresh_key())
    finally:
        Settings.use(**before.model_dump())
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")


def test_a_customer_sees_only_their_own_orders(
    orders: Service, http: FlaskClient, placed: dict[str, Any], customer: dict[str, str], staff: dict[str, str]
) -> None:
    other = bearer(orders, uuid4())
    paths = [f"/orders/{placed['id']}", f"/orders/{placed['id']}/events", f"/orders/user/{CUSTOMER}"]
    for path in paths:
        assert http.get(path, headers=customer).status_code == 200
        assert http.get(path, headers=staff).status_code == 200
        assert http.get(path, headers=other).status_code == 404
        assert http.get(path).status_code == 401
    assert http.delete(f"/orders/{placed['id']}", headers=other).status_code == 404
    assert http.get("/orders/", headers=other).json["items"] == []
    assert [order["id"] for order in http.get("/orders/", headers=staff).json["items"]] == [placed["id"]]


def test_the_list_pages_newest_first(http: FlaskClient, product: Product, customer: dict[str, str]) -> None:
    kettle = product()
    ids = [
        http.post("/orders/", json=order_of((kettle, 1)), headers=customer | fresh_key()).json["id"] for _ in range(5)
    ]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = http.get("/orders/?limit=2" + (f"&cursor={cursor}" if cursor else ""), headers=customer).json
        seen += [order["id"] for order in page["items"]]
        cursor = page["next"]
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "WyJhIl0=",
        "WyJhIiwgImIiXQ==",
        "e30=",
        encode("0001-01-01T00:00:00+23:59", UUID(int=1)),
        encode("9999-12-31T23:59:59.999999-23:59", UUID(int=1)),
        urlsafe_b64encode(rb'["\ud800", "\ud800"]').decode(),
    ],
)
def test_a_cursor_of_another_list_is_refused(http: FlaskClient, customer: dict[str, str], cursor: str) -> None:
    response = http.get(f"/orders/?cursor={cursor}", headers=customer)
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "cursor")
