"""One order as its events make it. Nothing changes it but an event; the row is written in the event's transaction."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base.problems import NotFound
from chassis.messaging.message import Message
from chassis.security.auth import Caller
from chassis.storage import postgres
from chassis.storage.columns import MinorUnits, PydanticJSON
from contracts.orders import (
    Line,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderPlaced,
    OrderResumed,
    OrderShipped,
    OrderStuck,
)
from contracts.payments import PaymentCaptured, PaymentRefunded
from contracts.reasons import Audience
from services.orders.models import steps
from services.orders.models.events import Base, Event
from services.orders.models.status import NEXT, OrderStatus, OutOfTurn
from services.orders.models.steps import Outcome, Step


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    total_amount: Mapped[int] = mapped_column(MinorUnits)
    captured_amount: Mapped[int] = mapped_column(MinorUnits)
    refunded_amount: Mapped[int] = mapped_column(MinorUnits)
    currency: Mapped[str] = mapped_column(String(3))
    status: Mapped[str] = mapped_column(String(50))
    reason: Mapped[str | None] = mapped_column(String(500))
    """Why it was cancelled: the code of a Reason."""

    lines: Mapped[list[Line]] = mapped_column(PydanticJSON(list[Line]))
    payment_method: Mapped[str] = mapped_column(String(100))
    steps: Mapped[dict[str, Step]] = mapped_column(PydanticJSON(dict[str, Step]))
    """By the names that `steps.key_of` gives."""
    due_at: Mapped[datetime | None]
    """When the first of the answers it awaits is late."""

    stuck_at: Mapped[datetime | None]
    stuck_reason: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    shipped_at: Mapped[datetime | None]
    version: Mapped[int]
    """Version of the last event in it."""

    # --- found

    @classmethod
    def place(cls, message: OrderPlaced) -> "Order":
        order = cls.blank(message.order_id)
        order.record(message)
        postgres.session().add(order)
        return order

    @classmethod
    def blank(cls, order_id: UUID) -> "Order":
        """What an order is before its first event."""
        empty = dict.fromkeys(("reason", "due_at", "stuck_at", "stuck_reason", "confirmed_at", "shipped_at"))
        return cls(id=order_id, version=0, captured_amount=0, refunded_amount=0, steps={}, **empty)

    @classmethod
    def get_for_update(cls, order_id: UUID) -> "Order":
        """The order, locked until the transaction ends. Raises NotFound."""
        order = postgres.session().get(cls, order_id, with_for_update=True)
        if order is None:
            raise NotFound(f"There is no order {order_id}.")
        return order

    @classmethod
    def visible_to(cls, caller: Caller, order_id: UUID, for_update: bool = False) -> "Order":
        """The order, if it is the caller's own or the caller is staff. Raises NotFound, also for someone else's."""
        order = postgres.session().get(cls, order_id, with_for_update=for_update)
        if order is None or not caller.owns(order.user_id):
            raise NotFound("You have no such order.")
        return order

    # --- read

    @property
    def refundable(self) -> int:
        """What was captured, and neither went back nor is on its way back; in minor units."""
        on_its_way = sum(step.amount for step in self.open_steps.values())
        return self.captured_amount - self.refunded_amount - on_its_way

    @property
    def is_called_off(self) -> bool:
        """Nothing of it will ever be delivered, so all of it has to be undone."""
        return self.status == OrderStatus.CANCELLED or (self.status == OrderStatus.REFUNDED and self.shipped_at is None)

    @property
    def is_settled(self) -> bool:
        """Nobody's answer is awaited, and nobody is owed anything."""
        return not self.open_steps and not (self.is_called_off and self.refundable)

    @property
    def open_steps(self) -> dict[str, Step]:
        """The ones that await an answer, in the order in which they were asked for. (JSONB sorts keys by length.)"""
        taken = sorted(self.steps.items(), key=lambda item: item[1].version)
        return {key: step for key, step in taken if step.is_open}

    def outcome(self, command: type[Message]) -> Outcome | None:
        """How the step ended; None while it is open, and when it was never asked for."""
        step = self.steps.get(command.type)
        return step.outcome if step is not None else None

    def has_asked(self, command: type[Message]) -> bool:
        return command.type in self.steps

    def is_awaiting(self, command: type[Message]) -> bool:
        return command.type in self.open_steps

    # --- changed

    def hear(self, answer: Message) -> bool:
        """Record the answer if it is awaited; False for one that is late or repeated."""
        if _ended_by(answer, self.open_steps) is None:
            return False
        self.record(answer)
        return True

    def learn(self, fact: PaymentCaptured | PaymentRefunded) -> bool:
        """Record that money moved, whether or not that was asked for; False when it is known."""
        _, [command] = steps.ANSWERS[type(fact)]
        known = self.steps.get(steps.key_of(fact, command))
        if known is not None and known.outcome == Outcome.DONE:
            return False
        self.record(fact)
        return True

    def record(self, fact: Message) -> None:
        """Add what happened to the order's events. Raises OutOfTurn when it could not happen now."""
        self._append(fact, is_sent=False)

    def emit(self, *messages: Message) -> None:
        """Add messages to the order's events and send them after the transaction. Raises OutOfTurn as `record` does."""
        for message in messages:
            self._append(message, is_sent=True)

    def _append(self, message: Message, is_sent: bool) -> None:
        event = Event.of(message, self.id, self.version + 1, is_sent)
        self.apply(message, event.version, event.occurred_at)
        postgres.session().add(event)

    def apply(self, message: Message, version: int, occurred_at: datetime) -> None:
        """What the event makes of the order; a pure function of the two, so that events give the same rows again."""
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
            case OrderStuck():
                self.stuck_at, self.stuck_reason = occurred_at, f"{message.step}: {message.reason.text(Audience.STAFF)}"
            case OrderResumed():
                self.stuck_at = self.stuck_reason = None
                self._keep({key: _afresh(step) for key, step in self.steps.items()})
            case PaymentCaptured():
                self.captured_amount = message.amount
            case PaymentRefunded():
                self.refunded_amount += message.amount
        self._step(message, version, occurred_at)
        self._settle()

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
            raise OutOfTurn(f"This order is {self.status}: it cannot become {status}.", current=self.status)
        self.status = status

    def _step(self, message: Message, version: int, occurred_at: datetime) -> None:
        """What a command begins, and what an answer ends."""
        taken = dict(self.steps)
        if type(message) in steps.PATIENCE:
            key = steps.key_of(message)
            taken[key] = steps.asked(message, version, occurred_at, taken.get(key))
            called_off = steps.CALLS_OFF.get(type(message))
            if called_off is not None and (step := taken.get(called_off.type)) is not None and step.is_open:
                taken[called_off.type] = step.ended(Outcome.CALLED_OFF)
        elif type(message) in steps.ANSWERS:
            outcome, [command, *_] = steps.ANSWERS[type(message)]
            key = _ended_by(message, taken) or steps.key_of(message, command)
            taken[key] = taken.get(key, Step(version, 0, occurred_at)).ended(outcome)
        else:
            return
        self._keep(taken)

    def _keep(self, taken: dict[str, Step]) -> None:
        self.steps = taken
        self.due_at = min((step.due_at for step in taken.values() if step.is_open), default=None)

    def _settle(self) -> None:
        whole = 0 < self.captured_amount <= self.refunded_amount
        if whole and OrderStatus.REFUNDED in NEXT.get(OrderStatus(self.status), ()):
            self.status = OrderStatus.REFUNDED
        if self.stuck_at is not None and self.is_settled:
            self.stuck_at = self.stuck_reason = None


def _ended_by(answer: Message, taken: dict[str, Step]) -> str | None:
    """The open step among `taken` that the answer ends."""
    _, commands = steps.ANSWERS[type(answer)]
    keys = (steps.key_of(answer, command) for command in commands)
    return next((key for key in keys if key in taken and taken[key].is_open), None)


def _afresh(step: Step) -> Step:
    return Step(step.version, 0, step.due_at, step.outcome, step.amount)
