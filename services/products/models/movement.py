"""Movements of units, each written in the update that makes it and later posted to the ledger."""

from typing import Any, Self
from uuid import uuid4

from mongoengine import DateTimeField, EmbeddedDocument, IntField, StringField

from chassis.storage import mongo

RECEIPT = "receipt"
"""What a new product starts with."""
COUNT = "count"
"""Staff counted the shelf."""
ADJUSTMENT = "adjustment"
HOLD = "hold"
RELEASE = "release"
"""A hold ended: cancelled, refused or expired."""
SALE = "sale"
RESTOCK = "restock"
"""Sold units came back."""

RECEIVED = (RECEIPT, COUNT, ADJUSTMENT)
"""The kinds that change how many units were received."""


class Movement(EmbeddedDocument):
    """Changes of units on hand, held and sold. `reference` is the id of the order or adjustment."""

    id = StringField(required=True)
    kind = StringField(required=True)
    on_hand = IntField(required=True)
    held = IntField(required=True)
    sold = IntField(required=True)
    reference = StringField()
    reason = StringField()
    by = StringField()
    """The id of the member of staff."""
    at = DateTimeField(required=True)

    @classmethod
    def of(cls, kind: str, on_hand: int = 0, held: int = 0, sold: int = 0, **fields: Any) -> Self:
        return cls(id=str(uuid4()), kind=kind, on_hand=on_hand, held=held, sold=sold, at=mongo.now(), **fields)
