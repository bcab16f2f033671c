"""Stock moves of one product: each is one atomic, conditional update with its movement, and may be repeated.

The order's hold reveals a repetition, and its attempt number what an overtaken delivery wrote late, which is put back.
Where there is no hold, as at a restock, the movement reveals it: the update applies only to a version without it.
"""

from typing import Any
from uuid import UUID

from chassis.base.problems import Conflict
from chassis.storage import mongo
from services.products import cache
from services.products.models import ledger
from services.products.models.ledger import Entry
from services.products.models.movement import HOLD, RELEASE, RESTOCK, SALE, Movement
from services.products.models.product import Hold, Product

OUT_OF_STOCK = "out_of_stock"
NOT_FOR_SALE = "not_for_sale"
OVERTAKEN = "overtaken"
"""A later attempt holds the units; this one decides nothing."""

MAX_HOLDS = 5_000
MAX_WAITING = 1_000
"""Bounds of a document: holds, and movements not yet posted. An order beyond them is retried. Each hold leads to two more
movements, so the document stays under MongoDB's 16 MB."""

ROOM = {f"holds__{MAX_HOLDS - 1}__exists": False, f"movements__{MAX_WAITING - 1}__exists": False}
ATTEMPTS = 100


class Busy(Exception):
    """Too many orders in progress, or the product changed at every attempt; retried later."""


class InsufficientStock(Conflict):
    type, title = "/problems/insufficient-stock", "Insufficient stock"


class Stock:
    """Takes ids, as a document read before may be outdated."""

    def hold(self, product_id: str, order_id: str, attempt: int, quantity: int) -> str | None:
        """None when the order holds the units now, else the reason. Raises Busy."""
        if self._take(product_id, order_id, attempt, quantity) or self._adopt(product_id, order_id, attempt):
            return None
        product = Product.objects(id=product_id).only("is_active", "stock_quantity", "holds").first()
        if product is None or not product.is_active:
            return NOT_FOR_SALE
        if any(hold.order_id == order_id for hold in product.holds):
            return OVERTAKEN
        if product.stock_quantity < quantity:
            return OUT_OF_STOCK
        raise Busy(f"The product {product_id} has too many orders in progress.")

    def _take(self, product_id: str, order_id: str, attempt: int, quantity: int) -> bool:
        hold = Hold(order_id=order_id, attempt=attempt, quantity=quantity, held_at=mongo.now())
        free = {"is_active": True, "stock_quantity__gte": quantity, "holds__order_id__ne": order_id, **ROOM}
        movement = Movement.of(HOLD, on_hand=-quantity, held=quantity, reference=order_id)
        return _move(product_id, free, movement, push__holds=hold)

    def _adopt(self, product_id: str, order_id: str, attempt: int) -> bool:
        """Take over the hold of an unfinished attempt."""
        held = Product.objects(id=product_id, holds__match={"order_id": order_id, "attempt__lte": attempt})
        return held.update_one(set__holds__S__attempt=attempt) == 1

    def sell(self, product_id: str, order_id: str, attempt: int, quantity: int) -> None:
        hold = {"order_id": order_id, "attempt": attempt, "quantity": quantity}
        movement = Movement.of(SALE, held=-quantity, sold=quantity, reference=order_id)
        _move(product_id, {"holds__match": hold}, movement, pull__holds__order_id=order_id)

    def put_back(self, product_id: str, order_id: str, quantity: int, before: int | None = None) -> None:
        """With `before`, only the hold of an earlier attempt."""
        earlier = {} if before is None else {"attempt__lt": before}
        hold = {"order_id": order_id, "quantity": quantity, **earlier}
        movement = Movement.of(RELEASE, on_hand=quantity, held=-quantity, reference=order_id)
        _move(product_id, {"holds__match": hold}, movement, pull__holds__order_id=order_id)

    def restock(self, product_id: str, order_id: str, quantity: int) -> None:
        """Once. Raises Busy."""
        _once(product_id, Movement.of(RESTOCK, on_hand=quantity, sold=-quantity, reference=order_id))


def adjust(product_id: UUID, movement: Movement) -> Entry:
    """Once per reference. Raises NotFound, InsufficientStock, Busy."""
    return _once(str(product_id), movement)


def _once(product_id: str, movement: Movement) -> Entry:
    for _ in range(ATTEMPTS):
        product = Product.with_stock(UUID(product_id))
        if entry := ledger.find(product, movement.kind, movement.reference):
            return entry
        if product.stock_quantity + movement.on_hand < 0:
            raise InsufficientStock(f"Only {product.stock_quantity} on hand.", on_hand=product.stock_quantity)
        _move(product_id, {"version": product.version, **ROOM}, movement)
    raise Busy(f"The product {product_id} changed at every attempt.")


def _move(product_id: str, condition: dict[str, Any], movement: Movement, **changes: Any) -> bool:
    """Whether the product met the condition."""
    moved = Product.objects(id=product_id, **condition).update_one(
        inc__stock_quantity=movement.on_hand,
        inc__sold_quantity=movement.sold,
        push__movements=movement,
        inc__movement_count=1,
        inc__version=1,
        set__updated_at=movement.at,
        **changes,
    )
    cache.invalidate_products(product_id)
    return moved == 1
