"""A product with its stock and holds.

They share one document so that each move is one atomic update.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, ClassVar, NoReturn
from uuid import UUID

from mongoengine import (
    BooleanField,
    DateTimeField,
    Decimal128Field,
    Document,
    EmbeddedDocument,
    EmbeddedDocumentField,
    EmbeddedDocumentListField,
    IntField,
    QuerySet,
    StringField,
)
from mongoengine.errors import NotUniqueError
from pymongo.errors import DuplicateKeyError
from structlog import get_logger

from chassis.base.problems import Conflict, NotFound, PreconditionFailed
from chassis.storage import mongo
from chassis.storage.responses import HEADER, KeyReused
from services.products.models.movement import COUNT, RECEIPT, Movement

log = get_logger(__name__)

CENT = Decimal("0.01")
LOW_STOCK = 5
STOCK = ("stock_quantity", "sold_quantity", "holds", "movements", "movement_count", "low_stock_threshold", "opening")
INTERNAL = ("holds", "movements", "opening")

SHELVES = 256
"""Parts read one by one, as the catalogue may not fit into memory."""


class Hold(EmbeddedDocument):
    """Units promised to an order; `attempt` numbers the delivery."""

    order_id = StringField(required=True)
    attempt = IntField(required=True)
    quantity = IntField(required=True)
    held_at = DateTimeField(required=True)


class Opening(EmbeddedDocument):
    """The stock after movement `number`."""

    number = IntField(required=True)
    on_hand = IntField(required=True)
    held = IntField(required=True)
    sold = IntField(required=True)


class Product(Document):
    meta: ClassVar[dict[str, Any]] = {
        "collection": "products",
        "auto_create_index": False,
        # A newer release may have added fields.
        "strict": False,
        "indexes": [
            "updated_at",
            ("shelf", "updated_at"),
            {"fields": ["movements.at"], "sparse": True},
            {"fields": ["sku_key"], "unique": True, "sparse": True},
        ],
    }

    id = StringField(primary_key=True)
    sku = StringField(required=True, unique=True)
    sku_key = StringField()
    """Lower case, so SKUs are unique in any case."""
    name = StringField(required=True)
    description = StringField(default="")
    # A BSON decimal is exact and sorts as a number.
    price = Decimal128Field(required=True)
    currency = StringField(required=True)
    category = StringField(required=True)
    stock_quantity = IntField(required=True, default=0)
    sold_quantity = IntField(required=True, default=0)
    holds = EmbeddedDocumentListField(Hold)
    movements = EmbeddedDocumentListField(Movement)
    """Not yet in the ledger, oldest first."""
    movement_count = IntField(required=True, default=0)
    opening = EmbeddedDocumentField(Opening)
    """The stock before the ledger's first entry; None if that is number 1."""
    low_stock_threshold = IntField(required=True, default=LOW_STOCK)
    is_active = BooleanField(required=True, default=True)
    version = IntField(required=True, default=1)
    """Counts every change, including stock."""
    shelf = IntField(required=True)
    """From 0 to SHELVES - 1, by id."""
    request_hash = StringField()
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)

    @classmethod
    def new(cls, product_id: UUID, **fields: Any) -> "Product":
        moment = mongo.now()
        shelf = product_id.bytes[0] * SHELVES // 256
        product = cls(id=str(product_id), shelf=shelf, created_at=moment, updated_at=moment, **_exact(fields))
        if product.stock_quantity:
            product.movements = [Movement.of(RECEIPT, on_hand=product.stock_quantity)]
            product.movement_count = 1
        return product

    @classmethod
    def ensure_indexes(cls) -> None:
        """Also backfills shelf and SKU key."""
        super().ensure_indexes()
        collection = cls._get_collection()
        for product in collection.find({"sku_key": None}, {"sku": 1}):
            cls._set_sku_key(product["_id"], product["sku"])
        for product in collection.find({"shelf": None}, {"_id": 1}):
            shelf = UUID(product["_id"]).bytes[0] * SHELVES // 256
            collection.update_one({"_id": product["_id"]}, {"$set": {"shelf": shelf}})

    @classmethod
    def _set_sku_key(cls, product_id: str, sku: str) -> None:
        collection, key = cls._get_collection(), sku_key(sku)
        try:
            collection.update_one({"_id": product_id}, {"$set": {"sku_key": key}})
        except DuplicateKeyError:
            log.warning("two products' SKUs differ only in case", sku=sku)
            # No SKU has a space.
            collection.update_one({"_id": product_id}, {"$set": {"sku_key": f"{key} {product_id}"}})

    @classmethod
    def stock_of(cls, **condition: Any) -> "QuerySet":
        return cls.objects(**condition).only("sku", "version", *STOCK)

    @classmethod
    def with_stock(cls, product_id: UUID) -> "Product":
        """Raises NotFound."""
        found = cls.stock_of(id=str(product_id)).first()
        if found is None:
            raise NotFound("Product not found.")
        return found

    @property
    def held_quantity(self) -> int:
        return sum(hold.quantity for hold in self.holds)

    @property
    def received_quantity(self) -> int:
        return self.stock_quantity + self.held_quantity + self.sold_quantity

    @classmethod
    def create(cls, product_id: UUID, **fields: Any) -> "Product":
        """Save, or return the one the same request (by `request_hash`) saved.

        Raises KeyReused for another request's id, Conflict for a taken SKU.
        """
        try:
            return cls.new(product_id, **fields).save(force_insert=True)
        except NotUniqueError as error:
            existing = cls.objects(id=str(product_id)).first()
            if existing is None:
                raise _sku_taken(fields["sku"]) from error
            if existing.request_hash != fields["request_hash"]:
                raise KeyReused("It was first used with another request body.", field=HEADER) from error
            return existing

    @classmethod
    def get(cls, product_id: UUID) -> "Product":
        """On sale or not. Raises NotFound."""
        found = cls.objects(id=str(product_id)).exclude(*INTERNAL).first()
        if found is None:
            raise NotFound("Product not found.")
        return found

    @classmethod
    def change(cls, product_id: UUID, seen: Sequence[int] | None, **fields: Any) -> None:
        """Set `fields` if the version is in `seen` (None: any; not for counted stock).

        Raises NotFound, PreconditionFailed, or Conflict for a taken SKU.
        """
        condition = {} if seen is None else {"version__in": seen}
        changes = {f"set__{name}": value for name, value in _exact(fields).items()}
        if "stock_quantity" in fields:
            assert seen is not None
            condition, counted = cls._count(product_id, seen, fields["stock_quantity"])
            changes |= counted
        try:
            changed = cls.objects(id=str(product_id), **condition).update_one(
                set__updated_at=mongo.now(), inc__version=1, **changes
            )
        except NotUniqueError as error:
            raise _sku_taken(fields["sku"]) from error
        if not changed:
            cls._raise_unchanged(product_id)

    @classmethod
    def _count(cls, product_id: UUID, seen: Sequence[int], quantity: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Condition (stock unchanged since the count) and movement."""
        counted = cls.objects(id=str(product_id), version__in=seen).only("version", "stock_quantity").first()
        if counted is None:
            cls._raise_unchanged(product_id)
        difference = quantity - counted.stock_quantity
        movement = {"push__movements": Movement.of(COUNT, on_hand=difference), "inc__movement_count": 1}
        return {"version": counted.version}, movement if difference else {}

    @classmethod
    def _raise_unchanged(cls, product_id: UUID) -> NoReturn:
        found = cls.objects(id=str(product_id)).only("version").first()
        if found is None:
            raise NotFound("Product not found.")
        raise PreconditionFailed("The product or its stock has changed; read it again.", version=found.version)


def sku_key(sku: str) -> str:
    return sku.lower()


def _exact(fields: dict[str, Any]) -> dict[str, Any]:
    """Price to two decimals, plus the SKU key."""
    exact = dict(fields)
    if "price" in fields:
        exact["price"] = fields["price"].quantize(CENT)
    if "sku" in fields:
        exact["sku_key"] = sku_key(fields["sku"])
    return exact


def _sku_taken(sku: str) -> Conflict:
    message = "belongs to another product"
    return Conflict(f"The SKU {sku} {message}.", errors=[{"field": "sku", "message": message}])
