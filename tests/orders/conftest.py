"""Shared by the orders tests: products to order, placed orders, and replies from other services."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY

from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.run.service import Service
from chassis.run.testing import System, bearer
from chassis.storage import store
from contracts.payments import PaymentAuthorized, PaymentCaptured, RefundRefused
from contracts.reasons import Reason
from contracts.stock import StockCommitted, StockReserved
from services.orders import projector
from services.orders.models import Order
from tests.conftest import a_product
from tests.installation import until

CUSTOMER = UUID(int=100)


@pytest.fixture
def http(orders: Service, client: Callable[[Service], FlaskClient]) -> FlaskClient:
    return client(orders)


@pytest.fixture
def product(products: Service, client: Callable[[Service], FlaskClient]) -> Callable[..., dict[str, Any]]:
    """Create a product; returns it as the products service shows it."""

    def make(**fields: Any) -> dict[str, Any]:
        response = client(products).post(
            "/products/", json=a_product(**fields), headers=bearer(products, uuid4(), "staff")
        )
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json
        return created

    return make


@pytest.fixture
def customer(orders: Service) -> dict[str, str]:
    return bearer(orders, CUSTOMER)


@pytest.fixture
def staff(orders: Service) -> dict[str, str]:
    return bearer(orders, uuid4(), "staff")


def order_of(*lines: tuple[dict[str, Any], int], payment_method: str = "tok_success") -> dict[str, Any]:
    items = [{"product_id": product["id"], "quantity": quantity} for product, quantity in lines]
    return {"lines": items, "payment_method": payment_method}


def fresh_key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


@pytest.fixture
def placed(http: FlaskClient, product: Callable[..., dict[str, Any]], customer: dict[str, str]) -> dict[str, Any]:
    """A pending order of two kettles."""
    response = http.post("/orders/", json=order_of((product(), 2)), headers=customer | fresh_key())
    assert response.status_code == 201, response.text
    order: dict[str, Any] = response.json
    return order


@pytest.fixture
def deliver(orders: Service) -> Callable[..., System]:
    """Deliver messages to orders, each in an envelope of its own; returns the System with what orders published."""

    def run(*messages: Message) -> System:
        system = System([orders])
        for message in messages:
            system.deliver(orders, Envelope.of(message, "test"))
        system.drain()
        return system

    return run


Deliver = Callable[..., System]


def confirming(id_: UUID) -> list[Message]:
    """The replies that confirm an order."""
    return [StockReserved(id_), PaymentAuthorized(id_, uuid4())]


def fulfilling(id_: UUID) -> list[Message]:
    """The replies that settle a confirmed order of two kettles."""
    return [StockCommitted(id_), PaymentCaptured(id_, uuid4(), 2500, "EUR")]


def published(system: System) -> list[str]:
    """Types of the messages that orders sent, without the first reservation."""
    return [envelope.type for envelope in system.sent if envelope.type != "stock.reserve"]


def order_id(placed: dict[str, Any]) -> UUID:
    return UUID(placed["id"])


@pytest.fixture
def stuck(orders: Service) -> Callable[[UUID], str | None]:
    """Why the order is stuck, None if it is not."""

    def reason(id_: UUID) -> str | None:
        with store.active(orders.store), orders.store.transaction():
            return Order.get_for_update(id_).stuck_reason

    return reason


@pytest.fixture
def refused(placed: dict[str, Any], deliver: Deliver, http: FlaskClient, customer: dict[str, str]) -> UUID:
    """A paid order that was cancelled and whose refund was refused."""
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    http.delete(f"/orders/{id_}", headers=customer)
    request = next(envelope for envelope in deliver().sent if envelope.type == "payment.refund")
    deliver(RefundRefused(id_, UUID(request.data["refund_id"]), Reason.REFUND_TO_LOST_CARD))
    return id_


def project(orders: Service) -> None:
    with store.active(orders.store), orders.store.transaction():
        projector.project()


def project_all(orders: Service) -> None:
    """Also what is younger than a transaction elsewhere, such as one of a test beside this one."""

    def is_done() -> bool:
        project(orders)
        return oldest_uncounted() == 0

    until(is_done)


def oldest_uncounted() -> float | None:
    return REGISTRY.get_sample_value("souk_analytics_oldest_uncounted_timestamp_seconds")
