"""An order's state, changed only by events."""

from dataclasses import replace
from datetime import datetime
from functools import partial
from uuid import UUID

from prometheus_client import Histogram
from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock, tracing
from chassis.base.problems import NotFound
from chassis.messaging.message import Message
from chassis.security.auth import Caller
from chassis.storage import postgres, rows
from chassis.storage.columns import MinorUnits, PydanticJSON
from contracts.orders import (
    Line,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPlaced,
    OrderResumed,
    OrderSettledExternally,
    OrderShipped,
    OrderShortfallAccepted,
    OrderStuck,
)
from contracts.payments import PaymentCaptured, PaymentMovedExternally, PaymentRefunded
from contracts.reasons import Audience
from services.orders.models import steps
from services.orders.models.departures import expect_not_departed
from services.orders.models.events import Base, Event
from services.orders.models.status import NEXT, InvalidTransition, OrderStatus
from services.orders.models.steps import Outcome, Step

SETTLING_SECONDS = Histogram(
    "souk_order_settling_seconds",
    "From placing an order until it is confirmed or cancelled.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1200),
)


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    total_amount: Mapped[int] = mapped_column(MinorUnits)
    captured_amount: Mapped[int] = mapped_column(MinorUnits)
    refunded_amount: Mapped[int] = mapped_column(MinorUnits)
    disputed_amount: Mapped[int] = mapped_column(MinorUnits)

    external_amount: Mapped[int] = mapped_column(MinorUnits)
    """Refunded elsewhere or lost in disputes, less what came back; part of `refunded_amount`."""

    reported_amount: Mapped[int] = mapped_column(MinorUnits)
    """`external_amount` as payments reported it last."""

    accepted_amount: Mapped[int] = mapped_column(MinorUnits)
    """Missing, but staff will ship nevertheless."""

    movement: Mapped[int] = mapped_column(BigInteger)
    """Of the newest PaymentMovedExternally."""

    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(50))
    reason: Mapped[str | None] = mapped_column(String(500))
    """Of its cancellation."""

    lines: Mapped[list[Line]] = mapped_column(PydanticJSON(list[Line]))
    payment_method: Mapped[str] = mapped_column(String(100))
    steps: Mapped[dict[str, Step]] = mapped_column(PydanticJSON(dict[str, Step]))
    """By `steps.key_of`."""

    due_at: Mapped[datetime | None]

    stuck_at: Mapped[datetime | None]
    stuck_reason: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    shipped_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    version: Mapped[int]

    @classmethod
    def place(cls, message: OrderPlaced) -> "Order":
        order = cls.blank(message.order_id)
        order.record(message)
        postgres.session().add(order)
        return order

    @classmethod
    def blank(cls, order_id: UUID) -> "Order":
        moments = ("due_at", "stuck_at", "confirmed_at", "shipped_at", "delivered_at")
        empty = dict.fromkeys(("reason", "stuck_reason", *moments))
        amounts = ("captured", "refunded", "disputed", "external", "reported", "accepted")
        zero = dict.fromkeys(("movement", "version", *(f"{name}_amount" for name in amounts)), 0)
        return cls(id=order_id, steps={}, **zero, **empty)

    @classmethod
    def get_for_update(cls, order_id: UUID) -> "Order":
        """Raises NotFound; what an unavailable database raises if another shard has it."""
        order = rows.get_for_update(cls, order_id)
        if order is None:
            expect_not_departed(order_id)
            raise NotFound(f"There is no order {order_id}.")
        return order

    @classmethod
    def visible_to(cls, caller: Caller, order_id: UUID, for_update: bool = False) -> "Order":
        """Raises NotFound, also for another user's unless staff."""
        order = postgres.session().get(cls, order_id, with_for_update=for_update)
        if order is None or not caller.owns(order.user_id):
            raise NotFound("You have no order with this id.")
        return order

    @property
    def refundable(self) -> int:
        """In minor units."""
        being_refunded = sum(step.amount for step in self.open_steps.values())
        return max(self.captured_amount - self.refunded_amount - being_refunded - self.disputed_amount, 0)

    def external_change(self, reported: int) -> int:
        """Below zero if money came back. Staff may have settled some of an increase before it was reported."""
        change = reported - self.reported_amount
        return change if change < 0 else max(reported - self.external_amount, 0)

    @property
    def missing(self) -> dict[str, int]:
        """Of the total less our own refunds, by what happened to it; in minor units."""
        uncollected = self.total_amount - self.captured_amount
        return {"uncollected": uncollected, "external": self.external_amount, "disputed": self.disputed_amount}

    @property
    def unaccepted(self) -> int:
        """What is missing without staff's consent."""
        return max(sum(self.missing.values()) - self.accepted_amount, 0)

    @property
    def is_called_off(self) -> bool:
        return self.status == OrderStatus.CANCELLED or (self.status == OrderStatus.REFUNDED and self.shipped_at is None)

    @property
    def is_settled(self) -> bool:
        return not self.open_steps and not (self.is_called_off and self.refundable)

    @property
    def open_steps(self) -> dict[str, Step]:
        """Unanswered, oldest request first. (JSONB sorts keys by length.)"""
        by_age = sorted(self.steps.items(), key=lambda item: item[1].version)
        return {key: step for key, step in by_age if step.is_open}

    def outcome(self, command: type[Message]) -> Outcome | None:
        """None while open or never requested."""
        step = self.steps.get(command.type)
        return step.outcome if step is not None else None

    def has_requested(self, command: type[Message]) -> bool:
        return command.type in self.steps

    def is_awaiting(self, command: type[Message]) -> bool:
        return command.type in self.open_steps

    def accept(self, reply: Message) -> bool:
        """False if the reply is late or repeated."""
        if _step_ended_by(reply, self.open_steps) is None:
            return False
        self.record(reply)
        return True

    def record_money(self, fact: PaymentCaptured | PaymentRefunded) -> bool:
        """False if already recorded."""
        _, [command] = steps.REPLIES[type(fact)]
        step = self.steps.get(steps.key_of(fact, command))
        if step is not None and step.outcome == Outcome.DONE:
            return False
        self.record(fact)
        return True

    def record(self, fact: Message) -> None:
        """Append an unsent event. Raises InvalidTransition."""
        self._append(fact, is_sent=False)

    def emit(self, *messages: Message) -> None:
        """Append events to send. Raises InvalidTransition."""
        for message in messages:
            self._append(message, is_sent=True)

    def _append(self, message: Message, is_sent: bool) -> None:
        version, occurred_at = self.version + 1, clock.now()
        was_pending = self.status == OrderStatus.PENDING
        self.apply(message, version, occurred_at)
        if was_pending and self.status != OrderStatus.PENDING:
            seconds = (occurred_at - self.created_at).total_seconds()
            postgres.after_commit(partial(SETTLING_SECONDS.observe, seconds, tracing.exemplar()))
        Event.append(message, self.id, version, occurred_at, is_sent)

    def apply(self, message: Message, version: int, occurred_at: datetime) -> None:
        """Deterministic, for rebuilds."""
        self.updated_at = occurred_at
        self.version = version
        match message:
            case OrderPlaced():
                self._begin(message, occurred_at)
            case OrderConfirmed():
                self._transition_to(OrderStatus.CONFIRMED)
                self.confirmed_at = occurred_at
            case OrderCancelled():
                self._transition_to(OrderStatus.CANCELLED)
                self.reason = message.reason
            case OrderShipped():
                self._transition_to(OrderStatus.SHIPPED)
                self.shipped_at = occurred_at
            case OrderDelivered():
                self._transition_to(OrderStatus.DELIVERED)
                self.delivered_at = occurred_at
            case OrderStuck():
                self.stuck_at, self.stuck_reason = occurred_at, f"{message.step}: {message.reason.text(Audience.STAFF)}"
            case OrderResumed():
                self.stuck_at = self.stuck_reason = None
                self._set_steps({key: replace(step, attempts=0) for key, step in self.steps.items()})
            case PaymentCaptured():
                self.captured_amount = message.amount
            case PaymentRefunded():
                self.refunded_amount += message.amount
            case PaymentMovedExternally():
                reported = message.refunded + message.charged_back
                self._count_external(self.external_change(reported))
                self.reported_amount = reported
                self.disputed_amount, self.movement = message.disputed, message.position
                # If what came back is missing again later, staff decide again.
                self.accepted_amount = min(self.accepted_amount, max(sum(self.missing.values()), 0))
            case OrderSettledExternally():
                self._count_external(message.amount)
            case OrderShortfallAccepted():
                self.accepted_amount += message.amount
        self._update_steps(message, version, occurred_at)
        self._settle()

    def _count_external(self, amount: int) -> None:
        self.external_amount += amount
        self.refunded_amount += amount

    def _begin(self, placed: OrderPlaced, occurred_at: datetime) -> None:
        self.user_id = placed.user_id
        self.total_amount = placed.amount
        self.currency = placed.currency
        self.lines = placed.lines
        self.payment_method = placed.payment_method
        self.status = OrderStatus.PENDING
        self.created_at = occurred_at

    def _transition_to(self, status: OrderStatus) -> None:
        if status not in NEXT.get(OrderStatus(self.status), ()):
            raise InvalidTransition(f"A {self.status} order cannot become {status}.", current=self.status)
        self.status = status

    def _update_steps(self, message: Message, version: int, occurred_at: datetime) -> None:
        updated = dict(self.steps)
        if type(message) in steps.RETRY_POLICIES:
            key = steps.key_of(message)
            updated[key] = steps.attempted(message, version, occurred_at, updated.get(key))
            called_off = steps.CALLS_OFF.get(type(message))
            if called_off is not None and (step := updated.get(called_off.type)) is not None and step.is_open:
                updated[called_off.type] = step.ended(Outcome.CALLED_OFF)
        elif type(message) in steps.REPLIES:
            outcome, [command, *_] = steps.REPLIES[type(message)]
            key = _step_ended_by(message, updated) or steps.key_of(message, command)
            updated[key] = updated.get(key, Step(version, 0, occurred_at)).ended(outcome)
        else:
            return
        self._set_steps(updated)

    def _set_steps(self, updated: dict[str, Step]) -> None:
        self.steps = updated
        self.due_at = min((step.due_at for step in updated.values() if step.is_open), default=None)

    @property
    def _unrefunded_status(self) -> OrderStatus:
        if self.shipped_at is None:
            return OrderStatus.CANCELLED
        return OrderStatus.SHIPPED if self.delivered_at is None else OrderStatus.DELIVERED

    def _settle(self) -> None:
        is_refunded = 0 < self.captured_amount <= self.refunded_amount
        if is_refunded and OrderStatus.REFUNDED in NEXT.get(OrderStatus(self.status), ()):
            self.status = OrderStatus.REFUNDED
        elif not is_refunded and self.status == OrderStatus.REFUNDED:
            self.status = self._unrefunded_status
        if self.stuck_at is not None and self.is_settled:
            self.stuck_at = self.stuck_reason = None


def _step_ended_by(reply: Message, among: dict[str, Step]) -> str | None:
    _, commands = steps.REPLIES[type(reply)]
    keys = (steps.key_of(reply, command) for command in commands)
    return next((key for key in keys if key in among and among[key].is_open), None)
