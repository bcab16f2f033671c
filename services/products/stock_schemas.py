"""What the API takes and answers about stock."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from chassis.web.pagination import PageView
from chassis.web.schemas import Body, View
from services.products.models import Entry, Product

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


def _not_zero(quantity: int) -> int:
    if quantity == 0:
        raise ValueError("must not be 0")
    return quantity


class NewAdjustment(Body):
    quantity: Annotated[int, Field(ge=-1_000_000, le=1_000_000), AfterValidator(_not_zero)]
    """Pieces that came (positive) or went (negative)."""
    reason: Reason


class StockChange(Body):
    low_stock_threshold: int = Field(ge=0, le=1_000_000)
    """So many pieces on hand, or fewer, are few: falling to them is announced."""


class StockView(View):
    product_id: UUID
    sku: str
    on_hand: int
    held: int
    sold: int
    received: int
    low_stock_threshold: int

    @classmethod
    def of(cls, product: Product) -> Self:
        return cls(
            product_id=UUID(product.id),
            sku=product.sku,
            on_hand=product.stock_quantity,
            held=product.held_quantity,
            sold=product.sold_quantity,
            received=product.received_quantity,
            low_stock_threshold=product.low_stock_threshold,
        )


class Pieces(View):
    on_hand: int
    held: int
    sold: int


class MovementView(View):
    """One entry of the ledger. `reference` is the id of the order or the adjustment, `by` the member of the staff."""

    product_id: UUID
    number: int
    kind: str
    change: Pieces
    after: Pieces
    reference: UUID | None
    reason: str | None
    by: UUID | None
    at: datetime

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(
            product_id=UUID(entry.product_id),
            number=entry.number,
            kind=entry.kind,
            change=Pieces(on_hand=entry.on_hand, held=entry.held, sold=entry.sold),
            after=Pieces(on_hand=entry.on_hand_after, held=entry.held_after, sold=entry.sold_after),
            reference=entry.reference and UUID(entry.reference),
            reason=entry.reason,
            by=entry.by and UUID(entry.by),
            at=entry.at,
        )


class MovementPage(PageView):
    items: list[MovementView]
