"""What the orders tests share: products to order, placed orders, and answers from the neighbours."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient

from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from chassis.run.service import Service
from chassis.run.testing import System, bearer
from chassis.storage import store
from contracts.payments import PaymentAuthorized, PaymentCaptured
from contracts.stock import StockCommitted, StockReserved
from services.orders.models import Order
from tests.conftest import a_product

CUSTOMER = UUID(int=100)


@pytest.fixture
def http(orders: Service, client: Callable[[Service], FlaskClient]) -> FlaskClient:
    return client(orders)


@pytest.fixture
def product(products: Service, client: Callable[[Service], FlaskClient]) -> Callable[..., dict[str, Any]]:
    """Puts a product on sale; gives it as the products service shows it."""

    def make(**fields: Any) -> dict[str, Any]:
        answer = client(products).post(
            "/products/", json=a_product(**fields), headers=bearer(products, uuid4(), "staff")
        )
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json
        return made

    return make


@pytest.fixture
def customer(orders: Service) -> dict[str, str]:
    return bearer(orders, CUSTOMER)


@pytest.fixture
def staff(orders: Service) -> dict[str, str]:
    return bearer(orders, uuid4(), "staff")


def order_of(*lines: tuple[dict[str, Any], int], payment_method: str = "tok_success") -> dict[str, Any]:
    wanted = [{"product_id": product["id"], "quantity": quantity} for product, quantity in lines]
    return {"lines": wanted, "payment_method": payment_method}


def fresh_key() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


@pytest.fixture
def placed(http: FlaskClient, product: Callable[..., dict[str, Any]], customer: dict[str, str]) -> dict[str, Any]:
    """A pending order of two kettles."""
    answer = http.post("/orders/", json=order_of((product(), 2)), headers=customer | fresh_key())
    assert answer.status_code == 201, answer.text
    order: dict[str, Any] = answer.json
    return order


@pytest.fixture
def hear(orders: Service) -> Callable[..., System]:
    """Delivers messages to orders, each in an envelope of its own; gives the System with what orders said."""

    def deliver(*messages: Message) -> System:
        system = System([orders])
        for message in messages:
            system.deliver(orders, Envelope.of(message, "test"))
        system.drain()
        return system

    return deliver


Hear = Callable[..., System]


def confirming(id_: UUID) -> list[Message]:
    """The answers that confirm an order."""
    return [StockReserved(id_), PaymentAuthorized(id_, uuid4())]


def fulfilling(id_: UUID) -> list[Message]:
    """The answers after which nothing of a confirmed order of two kettles is awaited any more."""
    return [StockCommitted(id_), PaymentCaptured(id_, uuid4(), 2500, "EUR")]


def said(system: System) -> list[str]:
    """Types of the messages that orders sent, the first reservation left out."""
    return [envelope.type for envelope in system.sent if envelope.type != "stock.reserve"]


def order_id(placed: dict[str, Any]) -> UUID:
    return UUID(placed["id"])


@pytest.fixture
def stuck(orders: Service) -> Callable[[UUID], str | None]:
    """Why the order is stuck; None for one that is not."""

    def look(id_: UUID) -> str | None:
        with store.active(orders.store), orders.store.transaction():
            return Order.get_for_update(id_).stuck_reason

    return look
