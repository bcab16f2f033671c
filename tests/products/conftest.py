"""What the products tests share: products on sale, messages as orders sends them, and the books that must balance."""

from collections.abc import Callable, Iterator, Mapping
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
from services.products import kept
from services.products.audit import audit
from services.products.finding import choice
from services.products.finding.declare import has_text_search
from services.products.finding.finder import Finder
from services.products.models import Product

STAFF = UUID(int=1)
CUSTOMER = UUID(int=2)


@pytest.fixture
def http(products: Service, client: Callable[[Service], FlaskClient]) -> FlaskClient:
    # Lists that an earlier test read are not this one's.
    kept.forget_lists()
    return client(products)


@pytest.fixture(params=["file", "database"])
def finder(request: pytest.FixtureRequest, products: Service) -> Iterator[Finder]:
    """Each way of finding, on a server that can do it."""
    if request.param == "database" and not has_text_search(Product._get_collection()):
        pytest.skip("This server has no text index: SOUK_MONGO_URL=mongodb://... ./souk test runs this on a MongoDB.")
    chosen = choice.in_file() if request.param == "file" else choice.in_database()
    with choice.using(chosen):
        yield chosen


@pytest.fixture
def staff(products: Service) -> dict[str, str]:
    """The headers of a member of the staff."""
    return bearer(products, STAFF, "staff")


@pytest.fixture
def customer(products: Service) -> dict[str, str]:
    return bearer(products, CUSTOMER)


def described(**fields: Any) -> dict[str, Any]:
    """A product as the staff would send it."""
    return {
        "sku": f"SKU-{uuid4().hex[:12]}",
        "name": "Copper kettle",
        "description": "Holds a litre.",
        "category": "kitchen",
        "price": "12.50",
        **fields,
    }


@pytest.fixture
def add(http: FlaskClient, staff: dict[str, str]) -> Callable[..., dict[str, Any]]:
    """Puts a product on sale; gives it as it is answered."""

    def post(**fields: Any) -> dict[str, Any]:
        answer = http.post("/products/", json=described(**fields), headers=staff)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json
        return made

    return post


@pytest.fixture
def stocked(products: Service) -> Callable[..., list[UUID]]:
    """Products with these numbers of pieces on hand, in the order in which a handler walks them."""

    def make(*quantities: int) -> list[UUID]:
        product_ids = sorted((uuid4() for _ in quantities), key=str)
        for product_id, quantity in zip(product_ids, quantities, strict=True):
            text = str(product_id)
            said = {"sku": text, "name": text, "category": "kitchen", "price": Decimal(1), "currency": "EUR"}
            Product.create(product_id, stock_quantity=quantity, request_hash="", **said)
        return product_ids

    return make


def envelope(message: Message) -> Envelope:
    return Envelope.of(message, "orders")


@pytest.fixture
def tell(products: Service) -> Callable[[Message], Verdict]:
    """Delivers a message to the service as its worker gets it; gives the verdict."""
    return lambda message: worker.receive(products, envelope(message).to_json(), {})


@pytest.fixture
def answers(products: Service, system: Callable[..., System]) -> Callable[[], list[Message]]:
    """Sends what waits to be sent; gives those messages."""

    def collect() -> list[Message]:
        outside = system(products)
        outside.drain()
        return [sent.message() for sent in outside.sent]

    return collect


def stock(product_id: UUID) -> tuple[int, int, int]:
    """Pieces on hand, held and sold."""
    product = Product.objects.get(id=str(product_id))
    return product.stock_quantity, sum(hold.quantity for hold in product.holds), product.sold_quantity


def assert_nothing_lost(received: Mapping[UUID, int]) -> None:
    """On hand + held + sold = received, at any moment, of each product."""
    for product_id, quantity in received.items():
        moved = stock(product_id)
        assert min(moved) >= 0
        assert sum(moved) == quantity, moved


def assert_settled(received: Mapping[UUID, int]) -> None:
    """And once every message was handled, exactly what is promised is held and what is committed is sold: the ledger says so."""
    assert_nothing_lost(received)
    assert audit(patience_seconds=0).differences == []
