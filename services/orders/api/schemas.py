"""What the orders API takes and answers."""

from datetime import datetime
from decimal import Decimal
from typing import Literal, Self
from uuid import UUID

from pydantic import Field, computed_field, field_validator

from chassis import money
from chassis.messages import Line
from chassis.paging import PageView
from chassis.schemas import Body, View
from services.orders.models import Event


class NewLine(Body):
    product_id: UUID
    quantity: int = Field(ge=1, le=1_000)


class NewOrder(Body):
    lines: list[NewLine] = Field(min_length=1, max_length=50)
    payment_method: str = Field(pattern="^tok_[a-z0-9_]{1,60}$")
    """A provider's token; card numbers never come here."""

    @field_validator("lines")
    @classmethod
    def each_product_once(cls, lines: list[NewLine]) -> list[NewLine]:
        if len({line.product_id for line in lines}) < len(lines):
            raise ValueError("name each product once, with its whole quantity")
        return lines


class NewStatus(Body):
    status: Literal["shipped", "delivered", "cancelled"]
    reason: str = Field(default="Cancelled by the shop.", min_length=1, max_length=500)


class LineView(View):
    product_id: UUID
    name: str
    quantity: int
    unit_price: Decimal

    @classmethod
    def of(cls, line: Line) -> Self:
        return cls(
            product_id=line.product_id,
            name=line.name,
            quantity=line.quantity,
            unit_price=money.from_minor(line.unit_amount),
        )


class OrderView(View):
    id: UUID
    user_id: UUID
    status: str
    reason: str | None
    total_amount: Decimal
    currency: str
    lines: list[LineView]
    created_at: datetime
    updated_at: datetime

    @field_validator("lines", mode="before")
    @classmethod
    def from_lines(cls, lines: list[Line]) -> list[LineView]:
        return [LineView.of(line) for line in lines]


class OrderPage(PageView):
    items: list[OrderView]


class EventView(View):
    """One step of the order's timeline."""

    version: int
    type: str
    occurred_at: datetime
    data: dict[str, object] = Field(exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def reason(self) -> str | None:
        """Why, where something was refused or cancelled."""
        reason = self.data.get("reason")
        return None if reason is None else str(reason)


class Timeline(View):
    items: list[EventView]

    @classmethod
    def of(cls, events: list[Event]) -> Self:
        return cls(items=[EventView.model_validate(event) for event in events])
