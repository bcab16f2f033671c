"""No request makes the database scan a collection: an index serves every query."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import mongoengine
import pytest
from bson import json_util
from pymongo import monitoring

import services.products
from chassis.storage import mongo
from contracts.orders import Line, OrderConfirmed
from contracts.stock import CommitStock, ReleaseStock, ReserveStock
from services.products.models import Product, Reservation
from tests.products.conftest import CUSTOMER, described
from tests.products.test_listing import pages


class Recorder(monitoring.CommandListener):
    """The queries of all clients while it records."""

    def __init__(self) -> None:
        self.queries: dict[str, tuple[str, dict[str, Any]]] | None = None
        """Collection and condition, each shape once."""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self.queries is None:
            return
        command = event.command
        conditions = {
            "find": lambda: [command["filter"]],
            "update": lambda: [each["q"] for each in command["updates"]],
            "delete": lambda: [each["q"] for each in command["deletes"]],
            "aggregate": lambda: [command["pipeline"][0].get("$match", {})],
        }
        for condition in conditions.get(event.command_name, list)():
            shape = json_util.dumps([command[event.command_name], _shape(condition)])
            self.queries[shape] = (command[event.command_name], condition)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Results do not matter here."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nor do failures."""


def _shape(condition: Any) -> Any:
    """The condition without its values."""
    if isinstance(condition, dict):
        return {name: _shape(value) for name, value in condition.items()}
    return [_shape(each) for each in condition[:1]] if isinstance(condition, list) else None


RECORDER = Recorder()
# Clients take listeners when they are created: before the first test, after this module is imported.
monitoring.register(RECORDER)


@pytest.fixture
def queries() -> Iterator[dict[str, tuple[str, dict[str, Any]]]]:
    RECORDER.queries = {}
    yield RECORDER.queries
    RECORDER.queries = None


def stages(collection: str, condition: dict[str, Any]) -> list[str]:
    """The server's plan, from the outside in."""
    plans = [mongoengine.get_db()[collection].find(condition).explain()["queryPlanner"]["winningPlan"]]
    found = []
    for plan in plans:
        found.append(plan["stage"])
        plans += plan.get("inputStages", []) + ([plan["inputStage"]] if "inputStage" in plan else [])
    return found


def test_an_index_serves_every_query(http, add, staff, customer, stocked, deliver, published, queries):
    made = add(name="Kettle", stock_quantity=3)
    path = f"/products/{made['id']}"
    assert http.post("/products/", json=described(sku=made["sku"]), headers=staff).status_code == 409
    assert http.put(path, json=described(), headers={**staff, "If-Match": '"1"'}).status_code == 200
    assert http.put(path, json=described(), headers={**staff, "If-Match": '"1"'}).status_code == 412
    assert http.get("/internal/products", query_string={"ids": made["id"]}, headers={"X-API-Key": "orders-key"}).json
    filters = {"category": "kitchen", "min_price": "1", "max_price": "99", "in_stock": "true"}
    for sort in ("newest", "name", "price", "price_desc", "popular"):
        for narrowed in ({}, {"category": "kitchen"}, filters):
            pages(http, "/products/", limit=1, sort=sort, **narrowed)
            pages(http, "/products/search", limit=1, sort=sort, q="ketle", **narrowed)
    assert http.get("/products/?active=all", headers=staff).status_code == 200
    assert http.get("/products/categories").json["items"]
    _read_stock(http, path, staff)
    _import_and_export(http, staff)
    for recommended in (f"{path}/recommendations", "/products/recommendations"):
        assert http.get(recommended, headers=customer).status_code == 200
    cups, saucers = stocked(5, 5)
    for message in (ReserveStock, CommitStock, ReleaseStock):
        order_id = uuid4()
        deliver(ReserveStock(order_id, {cups: 1, saucers: 1}))
        deliver(message(order_id, {cups: 1, saucers: 1}) if message is ReserveStock else message(order_id))
    deliver(OrderConfirmed(uuid4(), CUSTOMER, [Line(cups, "Cup", 1, 50), Line(saucers, "Saucer", 1, 50)], 100, "EUR"))
    published()
    assert http.delete(path, headers=staff).status_code == 204
    seen = dict(queries)
    RECORDER.queries = None
    assert {collection for collection, _ in seen.values()} >= {"products", "reservations"}
    assert len(seen) > 10
    by_scan = [
        (collection, json.loads(json_util.dumps(condition)))
        for collection, condition in seen.values()
        # A document is found by its id, whatever other conditions there are.
        if "_id" not in condition and "COLLSCAN" in stages(collection, condition)
    ]
    assert by_scan == []


def _read_stock(http, path, staff):
    adjustment = {"quantity": 1, "reason": "found"}
    adjusted = http.post(
        f"{path}/stock-adjustments", json=adjustment, headers={**staff, "Idempotency-Key": uuid4().hex}
    )
    assert adjusted.status_code == 201, adjusted.text
    for part in ("stock", "stock-movements"):
        assert http.get(f"{path}/{part}", headers=staff).status_code == 200


def _import_and_export(http, staff):
    line = json.dumps(described()).encode()
    sent = http.post("/products/import", data=line, headers={**staff, "Content-Type": "application/x-ndjson"})
    assert sent.status_code == 200, sent.text
    assert http.get("/products/export", headers=staff).data


def test_a_scan_would_be_noticed(products, stocked, queries):
    stocked(1)
    list(Product._get_collection().find({"description": "x"}))
    (query,) = [condition for collection, condition in queries.values() if "description" in condition]
    assert "COLLSCAN" in stages("products", query)


def test_migrating_creates_every_index_and_may_be_repeated(products):
    for _ in range(2):
        products.store.migrate(services.products)
    catalogue = Product._get_collection().index_information()
    assert catalogue["sku_1"]["unique"]
    assert {"updated_at_1", "shelf_1_updated_at_1"} <= catalogue.keys()
    assert f"{mongo.OLDEST}_1" in Reservation._get_collection().index_information()


def test_migrating_gives_products_of_an_earlier_release_their_shelf(products, stocked):
    (cups,) = stocked(1)
    Product._get_collection().update_one({"_id": str(cups)}, {"$unset": {"shelf": 1}})
    products.store.migrate(services.products)
    assert Product.objects.get(id=str(cups)).shelf == cups.bytes[0]
