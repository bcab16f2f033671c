"""Stock moves of one product: each is one atomic, conditional update that may be repeated without effect.

The order's hold in the document makes a repetition known. The number of the attempt fences off a delivery that was
overtaken: whatever it still writes, late, is recognised by its lower number and taken back.
"""

from chassis import mongo
from services.products.models.product import Hold, Product

OUT_OF_STOCK = "out_of_stock"
NOT_FOR_SALE = "not_for_sale"


class Stock:
    """The three moves. They take ids, and no document, because a document read before says nothing about now."""

    def hold(self, product_id: str, order_id: str, attempt: int, quantity: int) -> str | None:
        """Move pieces from on hand to the order's hold. None when it holds them now, else why not."""
        if self._take(product_id, order_id, attempt, quantity) or self._adopt(product_id, order_id, attempt):
            return None
        product = Product.objects(id=product_id).only("is_active").first()
        return OUT_OF_STOCK if product is not None and product.is_active else NOT_FOR_SALE

    def _take(self, product_id: str, order_id: str, attempt: int, quantity: int) -> bool:
        moment = mongo.now()
        free = Product.objects(
            id=product_id, is_active=True, stock_quantity__gte=quantity, holds__order_id__ne=order_id
        )
        taken = free.update_one(
            inc__stock_quantity=-quantity,
            push__holds=Hold(order_id=order_id, attempt=attempt, quantity=quantity, held_at=moment),
            inc__version=1,
            set__updated_at=moment,
        )
        return taken == 1

    def _adopt(self, product_id: str, order_id: str, attempt: int) -> bool:
        """Make the hold of an attempt that came to nothing this attempt's."""
        held = Product.objects(id=product_id, holds__match={"order_id": order_id, "attempt__lte": attempt})
        return held.update_one(set__holds__S__attempt=attempt) == 1

    def sell(self, product_id: str, order_id: str, attempt: int, quantity: int) -> None:
        """Drop the order's hold: its pieces are sold."""
        hold = {"order_id": order_id, "attempt": attempt, "quantity": quantity}
        Product.objects(id=product_id, holds__match=hold).update_one(
            pull__holds__order_id=order_id,
            inc__sold_quantity=quantity,
            inc__version=1,
            set__updated_at=mongo.now(),
        )

    def put_back(self, product_id: str, order_id: str, quantity: int, before: int | None = None) -> None:
        """Move the order's hold back to on hand; only one of an attempt earlier than `before`, if that is given."""
        earlier = {} if before is None else {"attempt__lt": before}
        hold = {"order_id": order_id, "quantity": quantity, **earlier}
        Product.objects(id=product_id, holds__match=hold).update_one(
            pull__holds__order_id=order_id,
            inc__stock_quantity=quantity,
            inc__version=1,
            set__updated_at=mongo.now(),
        )
