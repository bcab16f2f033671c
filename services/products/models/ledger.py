"""The stock ledger: every movement of every product, in order, never changed.

A movement starts in its product's document (`movements`), where it cannot be lost or doubled. `post` copies what is there
to the ledger, under a number that follows from the document, and only then takes it out: whoever repeats that, or does it
beside another, writes the same entries.
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

DUPLICATE_KEY = 11000
BATCH = 100
"""Products whose movements are posted in one go."""

WAITING = {"movements.at": {"$gt": mongo.BEGINNING}}


class Entry(Document):
    """One movement, what it left on hand, held and sold, and its place among the product's movements, from 1."""

    meta: ClassVar[dict[str, Any]] = {
        "collection": "stock_ledger",
        "auto_create_index": False,
        "strict": False,
        "indexes": [("product_id", "-number"), "reference"],
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
        """The product's entries, newest first."""
        condition: dict[str, Any] = {"product_id": str(product_id)}
        if page.cursor is not None:
            condition["number__lt"] = _number(page.cursor)
        rows = list(cls.objects(**condition).order_by("-number").limit(page.limit + 1))
        more = len(rows) > page.limit
        rows = rows[: page.limit]
        return rows, pagination.encode(str(rows[-1].number)) if more else None


def _number(cursor: str) -> int:
    text = pagination.decode(cursor, 1)[0]
    if not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise pagination.invalid_cursor()
    return int(text)


def waiting(product: Product) -> list[Entry]:
    """The entries that the product's movements will be, oldest first: counted back from how it stands now."""
    on_hand, held, sold = product.stock_quantity, product.held_quantity, product.sold_quantity
    entries = []
    for number, movement in zip(count(product.movement_count, -1), reversed(product.movements)):
        said = movement.to_mongo().to_dict()
        del said["id"]
        entries.append(
            Entry(
                id=f"{product.id}:{number}",
                product_id=product.id,
                number=number,
                on_hand_after=on_hand,
                held_after=held,
                sold_after=sold,
                **said,
            )
        )
        on_hand, held, sold = on_hand - movement.on_hand, held - movement.held, sold - movement.sold
    return entries[::-1]


def find(product: Product, kind: str, reference: str) -> Entry | None:
    """The product's entry of this kind for `reference`, posted or waiting, as of when `product` was read."""
    # Asked for by the reference alone, which has few entries: SecantusDB uses no index of one field for several.
    known = [*waiting(product), *Entry.objects(reference=reference)]
    wanted = (product.id, kind, reference)
    return next((entry for entry in known if (entry.product_id, entry.kind, entry.reference) == wanted), None)


def post() -> None:
    """Move the movements of up to BATCH products to the ledger, and say of which products few pieces are left."""
    post_of(Product.stock_of(__raw__=WAITING).limit(BATCH))


def post_of(products: Sequence[Product]) -> None:
    """The same for products as they were when they were read."""
    entries = {product.id: waiting(product) for product in products}
    rows = [
        {**entry.to_mongo(), mongo.UNSENT: _news(product, entry)}
        for product in products
        for entry in entries[product.id]
    ]
    if not rows:
        return
    try:
        Entry._get_collection().insert_many(rows, ordered=False)
    except BulkWriteError as error:
        # What is there already was posted by somebody who then had no time to take it out, or is about to.
        if any(wrong["code"] != DUPLICATE_KEY for wrong in error.details["writeErrors"]):
            raise
    Product._get_collection().bulk_write([_taking_out(product) for product in products], ordered=False)


def _taking_out(product: Product) -> pymongo.UpdateOne:
    posted = [movement.id for movement in product.movements]
    return pymongo.UpdateOne({"_id": product.id}, {"$pull": {"movements": {"id": {"$in": posted}}}})


def _news(product: Product, entry: Entry) -> list[dict[str, Any]]:
    """That few are left, in the one entry that crossed the product's threshold: it is sent once as the entry is one."""
    before = entry.on_hand_after - entry.on_hand
    if not before > product.low_stock_threshold >= entry.on_hand_after:
        return []
    low = StockLow(UUID(product.id), product.sku, entry.on_hand_after, product.low_stock_threshold)
    return [mongo.unsent(low)]
