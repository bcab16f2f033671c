"""Stock movements, written with the update that makes them."""

from typing import Any, Self
from uuid import uuid4

from mongoengine import DateTimeField, EmbeddedDocument, IntField, StringField

from chassis.storage import mongo

RECEIPT = "receipt"
COUNT = "count"
"""Staff counted the shelf."""
ADJUSTMENT = "adjustment"
HOLD = "hold"
RELEASE = "release"
"""Hold cancelled, refused or expired."""
SALE = "sale"
RESTOCK = "restock"

RECEIVED = (RECEIPT, COUNT, ADJUSTMENT)


class Movement(EmbeddedDocument):
    """`reference`: order or adjustment id."""

    id = StringField(required=True)
    kind = StringField(required=True)
    on_hand = IntField(required=True)
    held = IntField(required=True)
    sold = IntField(required=True)
    reference = StringField()
    reason = StringField()
    by = StringField()
    """Staff member's id."""
    at = DateTimeField(required=True)

    @classmethod
    def of(cls, kind: str, on_hand: int = 0, held: int = 0, sold: int = 0, **fields: Any) -> Self:
        return cls(id=str(uuid4()), kind=kind, on_hand=on_hand, held=held, sold=sold, at=mongo.now(), **fields)
