"""One order as its events make it. Nothing changes it but an event; the row is written in the event's transaction."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import String, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from chassis import db, money
from chassis.auth import Caller
from chassis.messages import (
    AuthorizePayment,
    Line,
    Message,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPlaced,
    OrderShipped,
)
from chassis.paging import Page, newest_first
from chassis.problems import Conflict, NotFound
from services.orders.models.events import Base, Event

_LINES = TypeAdapter(list[Line])


class OrderStatus(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


NEXT = {
    OrderStatus.PENDING: {OrderStatus.CONFIRMED, OrderStatus.CANCELLED},
    OrderStatus.CONFIRMED: {OrderStatus.SHIPPED},
    OrderStatus.SHIPPED: {OrderStatus.DELIVERED},
}
"""What an order may become from each status; from any other, nothing."""


class OutOfTurn(Conflict):
    type, title = "/problems/order-out-of-turn", "The order's status forbids this"


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    total_amount: Mapped[Decimal]
    status: Mapped[str] = mapped_column(String(50), default=OrderStatus.PENDING)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    currency: Mapped[str] = mapped_column(String(3))
    lines_data: Mapped[list[dict[str, Any]]] = mapped_column("lines", JSONB)
    payment_method: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(String(500))
    """Why it was cancelled."""
    awaits: Mapped[str | None] = mapped_column(String(20))
    """Whose answer the saga waits for: stock, payment, or nobody's."""
    version: Mapped[int]
    """Version of the last event in it."""

    STOCK: ClassVar = "stock"
    PAYMENT: ClassVar = "payment"

    @classmethod
    def place(cls, message: OrderPlaced) -> "Order":
        order = cls(id=message.order_id, version=0)
        order.record(message)
        db.session().add(order)
        return order

    @classmethod
    def locked(cls, order_id: UUID) -> "Order":
        """The order, locked until the transaction ends. Raises NotFound."""
        order = db.session().get(cls, order_id, with_for_update=True)
        if order is None:
            raise NotFound(f"There is no order {order_id}.")
        return order

    @classmethod
    def visible_to(cls, caller: Caller, order_id: UUID, for_update: bool = False) -> "Order":
        """The order, if it is the caller's own or the caller is staff. Raises NotFound, also for someone else's."""
        order = db.session().get(cls, order_id, with_for_update=for_update)
        if order is None or not caller.owns(order.user_id):
            raise NotFound("You have no such order.")
        return order

    @classmethod
    def page(cls, page: Page, user_id: UUID | None) -> tuple[Sequence["Order"], str | None]:
        """Orders, newest first: of one user, or of everybody."""
        query = select(cls)
        if user_id is not None:
            query = query.where(cls.user_id == user_id)
        return newest_first(query, cls.created_at, cls.id, page)

    @property
    def lines(self) -> list[Line]:
        return _LINES.validate_python(self.lines_data)

    @property
    def amount(self) -> int:
        """The total in minor units."""
        return money.to_minor(self.total_amount)

    @property
    def is_cancelled(self) -> bool:
        return self.status == OrderStatus.CANCELLED

    def record(self, fact: Message) -> None:
        """Add what happened to the order's events. Raises OutOfTurn when it could not happen now."""
        self._append(fact, is_sent=False)

    def emit(self, *messages: Message) -> None:
        """Add messages to the order's events and send them after the transaction. Raises OutOfTurn as `record` does."""
        for message in messages:
            self._append(message, is_sent=True)

    def _append(self, message: Message, is_sent: bool) -> None:
        event = Event.of(message, self.id, self.version + 1, is_sent)
        self.apply(message, event.occurred_at)
        self.version = event.version
        db.session().add(event)

    def apply(self, message: Message, occurred_at: datetime) -> None:
        """What `message` makes of the order; a pure function of the two, so that events give the same rows again."""
        self.updated_at = occurred_at
        match message:
            case OrderPlaced():
                self._begin(message, occurred_at)
            case AuthorizePayment():
                self.awaits = self.PAYMENT
            case OrderConfirmed():
                self._become(OrderStatus.CONFIRMED)
            case OrderCancelled():
                self._become(OrderStatus.CANCELLED)
                self.reason = message.reason
            case OrderShipped():
                self._become(OrderStatus.SHIPPED)
            case OrderDelivered():
                self._become(OrderStatus.DELIVERED)

    def _begin(self, placed: OrderPlaced, occurred_at: datetime) -> None:
        self.user_id = placed.user_id
        self.total_amount = money.from_minor(placed.amount)
        self.currency = placed.currency
        self.lines_data = _LINES.dump_python(placed.lines, mode="json")
        self.payment_method = placed.payment_method
        self.status = OrderStatus.PENDING
        self.awaits = self.STOCK
        self.created_at = occurred_at

    def _become(self, status: OrderStatus) -> None:
        if status not in NEXT.get(OrderStatus(self.status), ()):
            raise OutOfTurn(f"This order is {self.status}: it cannot become {status}.", current=self.status)
        self.status = status
        self.awaits = None
