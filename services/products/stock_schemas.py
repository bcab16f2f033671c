"""Requests and responses of the stock API."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import AfterValidator, Field

from chassis.web.fields import OneLine
from chassis.web.pagination import Page, PageView
from chassis.web.schemas import Body, View
from services.products.models import Entry, Product

Reason = Annotated[str, OneLine(200)]


def _not_zero(quantity: int) -> int:
    if quantity == 0:
        raise ValueError("must not be 0")
    return quantity


class NewAdjustment(Body):
    example: ClassVar[dict[str, Any]] = {"quantity": 5, "reason": "Counted again"}

    quantity: Annotated[int, Field(ge=-1_000_000, le=1_000_000), AfterValidator(_not_zero)]
    """Units added (positive) or removed (negative)."""
    reason: Reason


class StockChange(Body):
    example: ClassVar[dict[str, Any]] = {"low_stock_threshold": 3}

    low_stock_threshold: int = Field(ge=0, le=1_000_000)
    """Units on hand at which `stock.low` is published."""


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


class MovementsQuery(Page):
    """With `reference`, an order's or adjustment's id, all of its movements of this product."""

    reference: UUID | None = None


class Units(View):
    on_hand: int
    held: int
    sold: int


class MovementView(View):
    """`reference`: order or adjustment id; `by`: staff member's id."""

    product_id: UUID
    number: int
    kind: str
    change: Units
    after: Units
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
            change=Units(on_hand=entry.on_hand, held=entry.held, sold=entry.sold),
            after=Units(on_hand=entry.on_hand_after, held=entry.held_after, sold=entry.sold_after),
            reference=entry.reference and UUID(entry.reference),
            reason=entry.reason,
            by=entry.by and UUID(entry.by),
            at=entry.at,
        )


class MovementPage(PageView):
    items: list[MovementView]
