"""Requests and responses of the orders API."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator

from chassis.web.pagination import PageView
from chassis.web.schemas import Body, Query, View
from contracts.currencies import Currency
from contracts.money import Amount, AmountView
from contracts.orders import Line, OrderStuck
from contracts.payment_tokens import PaymentToken
from contracts.reasons import Audience, Reader
from services.orders import words
from services.orders.models import Event, Order


class NewLine(Body):
    product_id: UUID
    quantity: int = Field(ge=1, le=1_000)


class NewOrder(Body):
    example: ClassVar[dict[str, Any]] = {
        "lines": [{"product_id": "6f1d2c3b-4a59-4e68-8776-95a4b3c2d1e0", "quantity": 1}],
        "payment_method": "tok_success",
    }

    lines: list[NewLine] = Field(min_length=1, max_length=50)
    payment_method: PaymentToken
    """A provider's token, never a card number."""

    currency: Currency | None = None
    """Must be the shop's."""

    expected_total: Amount | None = None
    """A higher total is refused with 409."""

    @field_validator("lines")
    @classmethod
    def each_product_once(cls, lines: list[NewLine]) -> list[NewLine]:
        if len({line.product_id for line in lines}) < len(lines):
            raise ValueError("must list each product once, with its total quantity")
        return lines


class NewNote(Body):
    """A comment by staff; customers see it, here and in the mail, only if it is addressed to them."""

    text: str = Field(min_length=1, max_length=500)
    audience: Literal["staff", "customer"] = "staff"


class NewStatus(Body):
    example: ClassVar[dict[str, Any]] = {"status": "shipped"}

    status: Literal["shipped", "delivered", "cancelled"]
    reason: Literal["cancelled_by_shop", "cancelled_by_customer", "out_of_stock", "fraud_suspected"] = (
        "cancelled_by_shop"
    )
    """Of a cancellation."""

    note: NewNote | None = None


class NewRefund(Body):
    example: ClassVar[dict[str, Any]] = {"amount": "2.50", "note": {"text": "The lid was scratched"}}

    amount: Amount | None = None
    """By default all that is refundable."""

    note: NewNote | None = None


class LineView(View):
    product_id: UUID
    name: str
    category: str
    quantity: int
    unit_price: AmountView

    @classmethod
    def of(cls, line: Line) -> Self:
        return cls(
            product_id=line.product_id,
            name=line.name,
            category=line.category,
            quantity=line.quantity,
            unit_price=line.unit_amount,
        )


class OrderView(View):
    id: UUID
    user_id: UUID
    status: str
    reason: str | None
    reason_text: str | None
    """In the request's language."""

    total_amount: AmountView
    captured_amount: AmountView
    refunded_amount: AmountView
    disputed_amount: AmountView

    currency: str
    lines: list[LineView]
    created_at: datetime
    updated_at: datetime
    confirmed_at: datetime | None
    shipped_at: datetime | None
    version: int

    @classmethod
    def of(cls, order: Order, reader: Reader) -> Self:
        own = {name: getattr(order, name) for name in cls.model_fields if name not in _RENDERED}
        lines = [LineView.of(line) for line in order.lines]
        return cls(**own, lines=lines, reason=reader.code(order.reason), reason_text=reader.text(order.reason))

    def etag(self) -> str:
        return str(self.version)


_RENDERED = ("lines", "reason", "reason_text")


class OrderPage(PageView):
    items: list[OrderView]


class TimelineQuery(Query):
    """`cursor` is a page's `next`."""

    limit: int = Field(default=100, ge=1, le=100)
    cursor: int = Field(default=0, ge=0, le=2**31 - 1)


class EventView(View):
    """One event of the timeline; `reason` and the fields below it say why something was refused or cancelled."""

    version: int
    type: str
    occurred_at: datetime
    summary: str
    reason: str | None
    reason_text: str | None
    """In the request's language."""

    note: str | None

    trace_id: str | None
    correlation_id: str | None
    """Of the request that led to it. Both for staff, and null if unknown."""

    @classmethod
    def of(cls, event: Event, order: Order, reader: Reader) -> Self:
        message = event.message
        ids = event.identity if reader.audience is Audience.STAFF else {}
        is_internal = isinstance(message, OrderStuck) and reader.audience is Audience.CUSTOMER
        reason = None if is_internal else getattr(message, "reason", None)
        return cls(
            version=event.version,
            type=event.type,
            occurred_at=event.occurred_at,
            summary=words.summary(message, order.currency),
            reason=reader.code(reason),
            reason_text=reader.text(reason),
            note=reader.note(getattr(message, "note", None)),
            trace_id=ids.get("trace_id"),
            correlation_id=ids.get("correlation_id"),
        )


class Timeline(View):
    items: list[EventView]
    next: int | None

    @classmethod
    def of(cls, events: Sequence[Event], order: Order, reader: Reader) -> Self:
        following = events[-1].version if events and events[-1].version < order.version else None
        return cls(items=[EventView.of(event, order, reader) for event in events], next=following)
