"""The append-only stock ledger.

A movement starts in its product's document, atomically. `post` copies it here under a number derived from the document,
then removes it there, so repeated or concurrent posts write the same entries.
"""

from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar
from uuid import UUID

import pymongo
from mongoengine import DateTimeField, DictField, Document, IntField, ListField, StringField
from pymongo.errors import BulkWriteError

from chassis.storage import mongo
from chassis.web import pagination
from chassis.web.pagination import Page
from contracts.stock import StockLow
from services.products.models.product import Product

BATCH = 100

WAITING = {"movements.at": {"$gt": mongo.BEGINNING}}


class Entry(Document):
    """A movement, the stock after it, and its number, from 1."""

    meta: ClassVar[dict[str, Any]] = {
        "collection": "stock_ledger",
        "auto_create_index": False,
        "strict": False,
        "indexes": [("product_id", "-number"), "reference", "at"],
    }

    id = StringField(primary_key=True)
    product_id = StringField(required=True)
    number = IntField(required=True)
    kind = StringField(required=True)
    on_hand = IntField(required=True)
    held = IntField(required=True)
    sold = IntField(required=True)
    on_hand_after = IntField(required=True)
    held_after = IntField(required=True)
    sold_after = IntField(required=True)
    reference = StringField()
    reason = StringField()
    by = StringField()
    at = DateTimeField(required=True)
    unsent = ListField(DictField())

    @classmethod
    def page(cls, page: Page, product_id: UUID) -> tuple[list["Entry"], str | None]:
        """Newest first."""
        condition: dict[str, Any] = {"product_id": str(product_id)}
        if page.cursor is not None:
            condition["number__lt"] = _number(page.cursor)
        rows = list(cls.objects(**condition).order_by("-number").limit(page.limit + 1))
        more = len(rows) > page.limit
        rows = rows[: page.limit]
        return rows, pagination.encode(str(rows[-1].number)) if more else None

    @classmethod
    def of(cls, reference: UUID, product_id: UUID) -> list["Entry"]:
        """Newest first."""
        # SecantusDB does not use a one-field index for several conditions.
        found = [entry for entry in cls.objects(reference=str(reference)) if entry.product_id == str(product_id)]
        return sorted(found, key=lambda entry: entry.number, reverse=True)


def _number(cursor: str) -> int:
    text = pagination.decode(cursor, 1)[0]
    if not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise pagination.invalid_cursor()
    return int(text)


def waiting(product: Product) -> list[Entry]:
    """Unposted, oldest first, computed back from current stock."""
    on_hand, held, sold = product.stock_quantity, product.held_quantity, product.sold_quantity
    entries = []
    for number, movement in zip(count(product.movement_count, -1), reversed(product.movements)):
        fields = movement.to_mongo().to_dict()
        del fields["id"]
        entries.append(
            Entry(
                id=f"{product.id}:{number}",
                product_id=product.id,
                number=number,
                on_hand_after=on_hand,
                held_after=held,
                sold_after=sold,
                **fields,
            )
        )
        on_hand, held, sold = on_hand - movement.on_hand, held - movement.held, sold - movement.sold
    return entries[::-1]


def find(product: Product, kind: str, reference: str) -> Entry | None:
    """Posted or waiting, as of the read of `product`."""
    # SecantusDB does not use a one-field index for several conditions.
    entries = [*waiting(product), *Entry.objects(reference=reference)]
    wanted = (product.id, kind, reference)
    return next((entry for entry in entries if (entry.product_id, entry.kind, entry.reference) == wanted), None)


def post() -> None:
    """Post movements of up to BATCH products, and publish low stock."""
    post_of(Product.stock_of(__raw__=WAITING).limit(BATCH))


def post_of(products: Sequence[Product]) -> None:
    entries = {product.id: waiting(product) for product in products}
    rows = [
        {**entry.to_mongo(), mongo.UNSENT: _low_stock(product, entry)}
        for product in products
        for entry in entries[product.id]
    ]
    if not rows:
        return
    try:
        Entry._get_collection().insert_many(rows, ordered=False)
    except BulkWriteError as error:
        mongo.ignore_duplicates(error)  # another worker posted it
    Product._get_collection().bulk_write([_removal(product) for product in products], ordered=False)


def _removal(product: Product) -> pymongo.UpdateOne:
    posted = [movement.id for movement in product.movements]
    return pymongo.UpdateOne({"_id": product.id}, {"$pull": {"movements": {"id": {"$in": posted}}}})


def _low_stock(product: Product, entry: Entry) -> list[dict[str, Any]]:
    """Only for the entry that crosses the threshold."""
    before = entry.on_hand_after - entry.on_hand
    if not before > product.low_stock_threshold >= entry.on_hand_after:
        return []
    low = StockLow(UUID(product.id), product.sku, entry.on_hand_after, product.low_stock_threshold)
    return [mongo.unsent(low)]
