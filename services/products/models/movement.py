"""Movements of a product's pieces: each is written in the very update that moves them, and only then goes to the ledger."""

from typing import Any, Self
from uuid import uuid4

from mongoengine import DateTimeField, EmbeddedDocument, IntField, StringField

from chassis.storage import mongo

RECEIPT = "receipt"
"""What a new product starts with."""
COUNT = "count"
"""Staff counted the shelf."""
ADJUSTMENT = "adjustment"
"""Staff said how many came or went, and why."""
HOLD = "hold"
RELEASE = "release"
"""A hold came back: called off, refused, or expired."""
SALE = "sale"
RESTOCK = "restock"
"""Sold pieces came back."""

RECEIVED = (RECEIPT, COUNT, ADJUSTMENT)
"""The kinds that change how many pieces were received; every other only moves them."""


class Movement(EmbeddedDocument):
    """By how many pieces on hand, held and sold changed at once. `reference` is the order's or the adjustment's id."""

    id = StringField(required=True)
    kind = StringField(required=True)
    on_hand = IntField(required=True)
    held = IntField(required=True)
    sold = IntField(required=True)
    reference = StringField()
    reason = StringField()
    by = StringField()
    """The member of the staff."""
    at = DateTimeField(required=True)

    @classmethod
    def of(cls, kind: str, on_hand: int = 0, held: int = 0, sold: int = 0, **said: Any) -> Self:
        return cls(id=str(uuid4()), kind=kind, on_hand=on_hand, held=held, sold=sold, at=mongo.now(), **said)
