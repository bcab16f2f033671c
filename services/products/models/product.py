"""A product: what the shop says of it, and its stock with the holds of orders on it.

On hand (`stock_quantity`), held and sold pieces are in one document, so that each move between them is one atomic update
and their sum changes only when stock is counted anew.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from mongoengine import (
    BooleanField,
    DateTimeField,
    Decimal128Field,
    Document,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    IntField,
    StringField,
)
from mongoengine.errors import NotUniqueError

from chassis import mongo
from chassis.auth import Caller
from chassis.idempotency import HEADER, KeyReused
from chassis.problems import Conflict, NotFound, PreconditionFailed

CENT = Decimal("0.01")


class Hold(EmbeddedDocument):
    """Pieces kept back for one order. `attempt` says which delivery of the order's command took them."""

    order_id = StringField(required=True)
    attempt = IntField(required=True)
    quantity = IntField(required=True)
    held_at = DateTimeField(required=True)


class Product(Document):
    meta: ClassVar[dict[str, Any]] = {
        "collection": "products",
        "auto_create_index": False,
        # A newer release may have added fields while this one still runs.
        "strict": False,
        "indexes": [
            ("is_active", "-created_at", "-id"),
            ("is_active", "category", "-created_at", "-id"),
            ("is_active", "name", "id"),
            ("is_active", "category", "name", "id"),
        ],
    }

    id = StringField(primary_key=True)
    sku = StringField(required=True, unique=True)
    name = StringField(required=True)
    description = StringField(default="")
    # A BSON decimal is exact, and both servers sort and compare it as a number.
    price = Decimal128Field(required=True)
    currency = StringField(required=True)
    category = StringField(required=True)
    stock_quantity = IntField(required=True, default=0)
    sold_quantity = IntField(required=True, default=0)
    holds = EmbeddedDocumentListField(Hold)
    is_active = BooleanField(required=True, default=True)
    version = IntField(required=True, default=1)
    """Counts every change, those of its stock too."""
    request_hash = StringField()
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)

    @classmethod
    def new(cls, product_id: UUID, **fields: Any) -> "Product":
        """A product that is not yet kept."""
        moment = mongo.now()
        return cls(id=str(product_id), created_at=moment, updated_at=moment, **_exact(fields))

    @classmethod
    def create(cls, product_id: UUID, **fields: Any) -> "Product":
        """Keep a new product. When `product_id` exists because the same request (by `request_hash`) made it, gives that one.

        Raises KeyReused when another request made it, Conflict when the SKU is taken.
        """
        try:
            return cls.new(product_id, **fields).save(force_insert=True)
        except NotUniqueError as error:
            known = cls.objects(id=str(product_id)).first()
            if known is None:
                raise _sku_taken(fields["sku"]) from error
            if known.request_hash != fields["request_hash"]:
                raise KeyReused("Its first use had another body.", field=HEADER) from error
            return known

    @classmethod
    def visible_to(cls, caller: Caller, product_id: UUID) -> "Product":
        """Raises NotFound; what is no longer sold is there for staff only."""
        found = cls.objects(id=str(product_id)).exclude("holds").first()
        if found is None or not (found.is_active or caller.is_staff):
            raise NotFound("There is no such product.")
        return found

    @classmethod
    def change(cls, product_id: UUID, seen: Sequence[int] | None, **fields: Any) -> None:
        """Set `fields`, if the version is one of those `seen`; None changes any.

        Raises NotFound, PreconditionFailed, and Conflict when the SKU is another product's.
        """
        condition = {} if seen is None else {"version__in": seen}
        changes = {f"set__{name}": value for name, value in _exact(fields).items()}
        try:
            changed = cls.objects(id=str(product_id), **condition).update_one(
                set__updated_at=mongo.now(), inc__version=1, **changes
            )
        except NotUniqueError as error:
            raise _sku_taken(fields["sku"]) from error
        if not changed:
            cls._explain(product_id)

    @classmethod
    def _explain(cls, product_id: UUID) -> None:
        found = cls.objects(id=str(product_id)).only("version").first()
        if found is None:
            raise NotFound("There is no such product.")
        raise PreconditionFailed("Read it again: somebody changed it or its stock moved.", version=found.version)


def _exact(fields: dict[str, Any]) -> dict[str, Any]:
    """`fields` with a price that always has two places."""
    return {**fields, "price": fields["price"].quantize(CENT)} if "price" in fields else fields


def _sku_taken(sku: str) -> Conflict:
    message = "belongs to another product"
    return Conflict(f"The SKU {sku} {message}.", errors=[{"field": "sku", "message": message}])
