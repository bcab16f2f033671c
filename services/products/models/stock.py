"""Stock moves of one product: atomic, conditional and repeatable. In pymongo: MongoEngine takes longer than the server.

The hold reveals a repetition, its attempt number a late write of an overtaken delivery, which is put back. Without a
hold, as at a restock, the movement does.
"""

from typing import Any
from uuid import UUID

from chassis.base.problems import Conflict
from chassis.storage import mongo
from services.products import cache
from services.products.models import ledger
from services.products.models.ledger import Entry
from services.products.models.movement import HOLD, RELEASE, RESTOCK, SALE, Movement
from services.products.models.product import Product

OUT_OF_STOCK = "out_of_stock"
NOT_FOR_SALE = "not_for_sale"
OVERTAKEN = "overtaken"
"""A later attempt holds the units."""

MAX_HOLDS = 5_000
MAX_WAITING = 1_000
"""Holds and unposted movements; more orders are retried. Each hold adds two movements; MongoDB documents end at 16 MB."""

ROOM = {f"holds.{MAX_HOLDS - 1}": {"$exists": False}, f"movements.{MAX_WAITING - 1}": {"$exists": False}}
ATTEMPTS = 100


class Busy(Exception):
    """Too many open orders or concurrent changes; retried later."""


class InsufficientStock(Conflict):
    type, title = "/problems/insufficient-stock", "Insufficient stock"


class Stock:
    """Takes ids, as loaded documents may be stale."""

    def hold(self, product_id: str, order_id: str, attempt: int, quantity: int) -> str | None:
        """None when held, else the reason. Raises Busy."""
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
        hold = {"order_id": order_id, "attempt": attempt, "quantity": quantity, "held_at": mongo.now()}
        free = {"is_active": True, "stock_quantity": {"$gte": quantity}, "holds.order_id": {"$ne": order_id}, **ROOM}
        movement = Movement.of(HOLD, on_hand=-quantity, held=quantity, reference=order_id)
        return _move(product_id, free, movement, hold=hold)

    def _adopt(self, product_id: str, order_id: str, attempt: int) -> bool:
        held = {"_id": product_id, **_holding(order_id=order_id, attempt={"$lte": attempt})}
        adopted = Product._get_collection().update_one(held, {"$set": {"holds.$.attempt": attempt}})
        return adopted.matched_count == 1

    def sell(self, product_id: str, order_id: str, attempt: int, quantity: int) -> None:
        holding = _holding(order_id=order_id, attempt=attempt, quantity=quantity)
        movement = Movement.of(SALE, held=-quantity, sold=quantity, reference=order_id)
        _move(product_id, holding, movement, ended=order_id)

    def put_back(self, product_id: str, order_id: str, quantity: int, before: int | None = None) -> None:
        """With `before`, only holds of earlier attempts."""
        earlier = {} if before is None else {"attempt": {"$lt": before}}
        holding = _holding(order_id=order_id, quantity=quantity, **earlier)
        movement = Movement.of(RELEASE, on_hand=quantity, held=-quantity, reference=order_id)
        _move(product_id, holding, movement, ended=order_id)

    def restock(self, product_id: str, order_id: str, quantity: int) -> None:
        """Idempotent. Raises Busy."""
        _once(product_id, Movement.of(RESTOCK, on_hand=quantity, sold=-quantity, reference=order_id))


def adjust(product_id: UUID, movement: Movement) -> Entry:
    """Idempotent per reference. Raises NotFound, InsufficientStock, Busy."""
    return _once(str(product_id), movement)


def _once(product_id: str, movement: Movement) -> Entry:
    for _ in range(ATTEMPTS):
        product = Product.with_stock(UUID(product_id))
        if entry := ledger.find(product, movement.kind, movement.reference):
            return entry
        if product.stock_quantity + movement.on_hand < 0:
            raise InsufficientStock(f"Only {product.stock_quantity} on hand.", on_hand=product.stock_quantity)
        if len(product.movements) >= MAX_WAITING:
            raise Busy(f"The product {product_id} has too many unposted movements.")
        _move(product_id, {"version": product.version}, movement)
    raise Busy(f"The product {product_id} changed at every attempt.")


def _holding(**hold: Any) -> dict[str, Any]:
    return {"holds": {"$elemMatch": hold}}


def _move(
    product_id: str,
    condition: dict[str, Any],
    movement: Movement,
    hold: dict[str, Any] | None = None,
    ended: str | None = None,
) -> bool:
    """hold: a new one. ended: the order whose hold ends."""
    update: dict[str, dict[str, Any]] = {
        "$inc": {
            "stock_quantity": movement.on_hand,
            "sold_quantity": movement.sold,
            "movement_count": 1,
            "version": 1,
        },
        "$push": {"movements": movement.to_mongo().to_dict()},
        "$set": {"updated_at": movement.at},
    }
    if hold is not None:
        update["$push"]["holds"] = hold
    if ended is not None:
        update["$pull"] = {"holds": {"order_id": ended}}
    moved = Product._get_collection().update_one({"_id": product_id, **condition}, update)
    cache.invalidate_products(product_id)
    return moved.matched_count == 1
