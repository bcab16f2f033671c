"""Stock moves of one product: each is one atomic, conditional update, with its movement for the ledger, and may be repeated.

The order's hold in the document makes a repetition known. The number of the attempt fences off a delivery that was
overtaken: whatever it still writes, late, is recognised by its lower number and taken back. Where no hold tells, as when
sold pieces come back, the movement itself does: the update is made only to the version that was read without it.
"""

from typing import Any
from uuid import UUID

from chassis.base.problems import Conflict
from chassis.storage import mongo
from services.products import kept
from services.products.models import ledger
from services.products.models.ledger import Entry
from services.products.models.movement import HOLD, RELEASE, RESTOCK, SALE, Movement
from services.products.models.product import Hold, Product

OUT_OF_STOCK = "out_of_stock"
NOT_FOR_SALE = "not_for_sale"
OVERTAKEN = "overtaken"
"""A later attempt holds the order's pieces: nothing that this one decides will count."""

MAX_HOLDS = 5_000
MAX_WAITING = 1_000
"""Bounds of one document: holds at a time, and movements that the ledger does not have yet. An order that would exceed them
waits. Each hold leads to two movements more, so the document stays under MongoDB's 16 MB."""

ROOM = {f"holds__{MAX_HOLDS - 1}__exists": False, f"movements__{MAX_WAITING - 1}__exists": False}
ATTEMPTS = 100


class Busy(Exception):
    """The product has too much in hand, or changed each time it was looked at; it is tried again later."""


class NotEnoughOnHand(Conflict):
    type, title = "/problems/not-enough-on-hand", "Not as many are on hand"


class Stock:
    """The moves. They take ids, and no document, because a document read before says nothing about now."""

    def hold(self, product_id: str, order_id: str, attempt: int, quantity: int) -> str | None:
        """Move pieces from on hand to the order's hold. None when it holds them now, else why not. Raises Busy."""
        if self._take(product_id, order_id, attempt, quantity) or self._adopt(product_id, order_id, attempt):
            return None
        product = Product.objects(id=product_id).only("is_active", "stock_quantity", "holds").first()
        if product is None or not product.is_active:
            return NOT_FOR_SALE
        if any(hold.order_id == order_id for hold in product.holds):
            return OVERTAKEN
        if product.stock_quantity < quantity:
            return OUT_OF_STOCK
        raise Busy(f"The product {product_id} has too many orders in hand.")

    def _take(self, product_id: str, order_id: str, attempt: int, quantity: int) -> bool:
        hold = Hold(order_id=order_id, attempt=attempt, quantity=quantity, held_at=mongo.now())
        free = {"is_active": True, "stock_quantity__gte": quantity, "holds__order_id__ne": order_id, **ROOM}
        movement = Movement.of(HOLD, on_hand=-quantity, held=quantity, reference=order_id)
        return _move(product_id, free, movement, push__holds=hold)

    def _adopt(self, product_id: str, order_id: str, attempt: int) -> bool:
        """Make the hold of an attempt that came to nothing this attempt's."""
        held = Product.objects(id=product_id, holds__match={"order_id": order_id, "attempt__lte": attempt})
        return held.update_one(set__holds__S__attempt=attempt) == 1

    def sell(self, product_id: str, order_id: str, attempt: int, quantity: int) -> None:
        """Drop the order's hold: its pieces are sold."""
        hold = {"order_id": order_id, "attempt": attempt, "quantity": quantity}
        movement = Movement.of(SALE, held=-quantity, sold=quantity, reference=order_id)
        _move(product_id, {"holds__match": hold}, movement, pull__holds__order_id=order_id)

    def put_back(self, product_id: str, order_id: str, quantity: int, before: int | None = None) -> None:
        """Move the order's hold back to on hand; only one of an attempt earlier than `before`, if that is given."""
        earlier = {} if before is None else {"attempt__lt": before}
        hold = {"order_id": order_id, "quantity": quantity, **earlier}
        movement = Movement.of(RELEASE, on_hand=quantity, held=-quantity, reference=order_id)
        _move(product_id, {"holds__match": hold}, movement, pull__holds__order_id=order_id)

    def restock(self, product_id: str, order_id: str, quantity: int) -> None:
        """Move what was sold to the order back to on hand, once. Raises Busy."""
        _once(product_id, Movement.of(RESTOCK, on_hand=quantity, sold=-quantity, reference=order_id))


def adjust(product_id: UUID, movement: Movement) -> Entry:
    """The entry of an adjustment, made once for its reference. Raises NotFound, NotEnoughOnHand, Busy."""
    return _once(str(product_id), movement)


def _once(product_id: str, movement: Movement) -> Entry:
    for _ in range(ATTEMPTS):
        product = Product.with_stock(UUID(product_id))
        if known := ledger.find(product, movement.kind, movement.reference):
            return known
        if product.stock_quantity + movement.on_hand < 0:
            raise NotEnoughOnHand(f"{product.stock_quantity} are on hand.", on_hand=product.stock_quantity)
        _move(product_id, {"version": product.version, **ROOM}, movement)
    raise Busy(f"The product {product_id} changed whenever it was looked at.")


def _move(product_id: str, condition: dict[str, Any], movement: Movement, **changes: Any) -> bool:
    """Move pieces if the product meets the condition; whether it did."""
    moved = Product.objects(id=product_id, **condition).update_one(
        inc__stock_quantity=movement.on_hand,
        inc__sold_quantity=movement.sold,
        push__movements=movement,
        inc__movement_count=1,
        inc__version=1,
        set__updated_at=movement.at,
        **changes,
    )
    kept.forget(product_id)
    return moved == 1
