"""Shared by the products tests: products on sale, messages as orders sends them, and the ledger that must balance."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.messaging.consumer import Verdict
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.run import worker
from chassis.run.service import Service
from chassis.run.testing import System, bearer
from services.products import cache
from services.products.audit import audit
from services.products.models import Product

STAFF = UUID(int=1)
CUSTOMER = UUID(int=2)


@pytest.fixture
def http(products: Service, client: Callable[[Service], FlaskClient]) -> FlaskClient:
    # Lists cached by an earlier test are not this one's.
    cache.invalidate_lists()
    return client(products)


@pytest.fixture
def staff(products: Service) -> dict[str, str]:
    """The headers of a member of staff."""
    return bearer(products, STAFF, "staff")


@pytest.fixture
def customer(products: Service) -> dict[str, str]:
    return bearer(products, CUSTOMER)


def described(**fields: Any) -> dict[str, Any]:
    """A product as staff would send it."""
    return {
        # No word or number that a test searches for begins like it.
        "sku": f"SKU-000{uuid4().int % 10**12:012}",
        "name": "Copper kettle",
        "description": "Holds a litre.",
        "category": "kitchen",
        "price": "12.50",
        **fields,
    }


@pytest.fixture
def add(http: FlaskClient, staff: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Puts a product on sale; gives the response."""

    def post(**fields: Any) -> dict[str, Any]:
        response = http.post("/products/", json=described(**fields), headers=staff)
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json
        return created

    return post


@pytest.fixture
def stocked(products: Service) -> Callable[..., list[UUID]]:
    """Products with these numbers of units on hand, in the order in which a handler walks them."""

    def make(*quantities: int) -> list[UUID]:
        product_ids = sorted((uuid4() for _ in quantities), key=str)
        for product_id, quantity in zip(product_ids, quantities, strict=True):
            text = str(product_id)
            fields = {"sku": text, "name": text, "category": "kitchen", "price": Decimal(1), "currency": "EUR"}
            Product.create(product_id, stock_quantity=quantity, request_hash="", **fields)
        return product_ids

    return make


def envelope(message: Message) -> Envelope:
    return Envelope.of(message, "orders")


@pytest.fixture
def deliver(products: Service) -> Callable[[Message], Verdict]:
    """Delivers a message as the worker gets it; gives the verdict."""
    return lambda message: worker.receive(products, envelope(message).to_json(), {})


@pytest.fixture
def published(products: Service, system: Callable[..., System]) -> Callable[[], list[Message]]:
    """Sends what is unsent; gives those messages."""

    def collect() -> list[Message]:
        outside = system(products)
        outside.drain()
        return [sent.message() for sent in outside.sent]

    return collect


def stock(product_id: UUID) -> tuple[int, int, int]:
    """Units on hand, held and sold."""
    product = Product.objects.get(id=str(product_id))
    return product.stock_quantity, sum(hold.quantity for hold in product.holds), product.sold_quantity


def assert_nothing_lost(received: Mapping[UUID, int]) -> None:
    """Of each product, at any moment, on hand + held + sold = received."""
    for product_id, quantity in received.items():
        moved = stock(product_id)
        assert min(moved) >= 0
        assert sum(moved) == quantity, moved


def assert_settled(received: Mapping[UUID, int]) -> None:
    """Once every message was handled, exactly what is promised is held and what is committed is sold, by the ledger too."""
    assert_nothing_lost(received)
    assert audit(timeout_seconds=0).differences == []
