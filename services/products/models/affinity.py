"""How many orders each product was in, and with what else.

Lists are bounded; a new entry replaces the least frequent and takes over its count, recorded as `error` (Space-Saving).
Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import mongoengine
import pymongo
from pymongo.errors import BulkWriteError

from chassis.storage import mongo

MAX_NEIGHBOURS = 100
MAX_COUNTED = 100
"""More than are counted together."""


@dataclass
class Neighbour:
    product_id: str
    count: int
    error: int = 0

    @property
    def certain(self) -> int:
        return self.count - self.error


@dataclass
class Affinity:
    """`counted`: the last order ids."""

    id: str
    orders: int = 0
    neighbours: list[Neighbour] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, product_ids: Collection[str]) -> "dict[str, Affinity]":
        """By product id. Without MongoEngine, which takes a hundred times as long for a long list."""
        found = _collection().find({"_id": {"$in": list(product_ids)}})
        return {each["_id"]: cls._from(each) for each in found}

    @classmethod
    def _from(cls, document: Mapping[str, Any]) -> "Affinity":
        neighbours = [Neighbour(each["product_id"], each["count"], each["error"]) for each in document["neighbours"]]
        return cls(document["_id"], document["orders"], neighbours, document["counted"])

    def add(self, orders: Mapping[str, Collection[str]]) -> None:
        """orders: products by order id."""
        for order_id, products in orders.items():
            self.neighbours = counted_with(self.neighbours, [other for other in products if other != self.id])
            self.counted = [*self.counted, order_id][-MAX_COUNTED:]
            self.orders += 1


def count(orders: Mapping[str, Collection[str]]) -> set[str]:
    """Those counted, now or before; the rest changed meanwhile. orders: up to MAX_COUNTED, products by order id."""
    product_ids = {product_id for products in orders.values() for product_id in products}
    known = Affinity.of(product_ids)
    writes = []
    for product_id in sorted(product_ids):
        affinity = known.get(product_id) or Affinity(product_id)
        new = {id_: all_ for id_, all_ in orders.items() if product_id in all_ and id_ not in affinity.counted}
        if new:
            writes.append(_write(affinity, new, is_known=product_id in known))
    _bulk_write(writes)
    counted = {each["_id"]: set(each["counted"]) for each in _counted(product_ids)}
    return {id_ for id_, products in orders.items() if all(id_ in counted.get(each, ()) for each in products)}


def _write(affinity: Affinity, orders: Mapping[str, Collection[str]], is_known: bool) -> Any:
    before = affinity.orders
    affinity.add(orders)
    content = asdict(affinity)
    id_ = content.pop("id")
    if not is_known:
        return pymongo.InsertOne({"_id": id_, **content})
    # `orders` grows with every change, so it serves as a version.
    return pymongo.UpdateOne({"_id": id_, "orders": before}, {"$set": content})


def _bulk_write(writes: list[Any]) -> None:
    if not writes:
        return
    try:
        _collection().bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        mongo.ignore_duplicates(error)


def orders_of(product_ids: Collection[str]) -> dict[str, int]:
    found = _collection().find({"_id": {"$in": list(product_ids)}}, {"orders": 1})
    return {each["_id"]: each["orders"] for each in found}


def _counted(product_ids: Collection[str]) -> Iterable[Mapping[str, Any]]:
    return _collection().find({"_id": {"$in": list(product_ids)}}, {"counted": 1})


def _collection() -> Any:
    return mongoengine.get_db()["affinities"]


def counted_with(
    neighbours: Iterable[Neighbour], others: Iterable[str], limit: int = MAX_NEIGHBOURS
) -> list[Neighbour]:
    by_id = {each.product_id: each for each in neighbours}
    for other in others:
        if other in by_id:
            by_id[other].count += 1
        elif len(by_id) < limit:
            by_id[other] = Neighbour(other, 1)
        else:
            rarest = min(by_id.values(), key=lambda each: each.count)
            del by_id[rarest.product_id]
            by_id[other] = Neighbour(other, rarest.count + 1, rarest.count)
    return list(by_id.values())
