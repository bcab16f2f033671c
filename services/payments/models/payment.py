"""A payment: its `status` at the provider and its `goal`. While they differ, work remains."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.security.auth import Caller
from chassis.storage import postgres, rows
from chassis.storage.columns import MinorUnits
from chassis.web.pagination import Page, newest_first
from contracts.reasons import Reason
from services.payments.models import ledger
from services.payments.models.base import Base
from services.payments.models.ledger import Move, Sums
from services.payments.models.status import NEXT, InvalidTransition, Status
from services.payments.models.sweeping import SWEEP_AFTER, next_sweep
from services.payments.models.terms import Terms

NO_CURRENCY = "XXX"
"""ISO 4217 for "no currency"."""

_MOVED = {
    (Status.PENDING, Status.AUTHORIZED): [Move.AUTHORIZED],
    (Status.PENDING, Status.CAPTURED): [Move.AUTHORIZED, Move.CAPTURED],
    (Status.AUTHORIZED, Status.CAPTURED): [Move.CAPTURED],
    (Status.AUTHORIZED, Status.VOIDED): [Move.RELEASED],
    (Status.FAILED, Status.CAPTURED): [Move.CAPTURED],
    (Status.FAILED, Status.VOIDED): [Move.RELEASED],
}


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    """Also the idempotency key at the provider."""

    order_id: Mapped[UUID | None] = mapped_column(unique=True)
    """Empty for direct payments. Set by the saga alone, so that no caller can pre-empt it."""

    user_id: Mapped[UUID | None]
    """Empty if voided before requested."""

    amount: Mapped[int] = mapped_column(MinorUnits)
    currency: Mapped[str] = mapped_column(String(3))
    payment_method: Mapped[str] = mapped_column(String(64))
    """The provider's token; empty if it was not one."""

    status: Mapped[str] = mapped_column(String(50), default=Status.PENDING)
    goal: Mapped[str] = mapped_column(String(50))
    """AUTHORIZED, CAPTURED, or VOIDED (by refund if need be)."""

    decline_reason: Mapped[str | None] = mapped_column(String(100))
    """A Reason's code."""

    provider: Mapped[str] = mapped_column(String(50))
    provider_reference: Mapped[str | None] = mapped_column(String(255))

    action_url: Mapped[str | None] = mapped_column(String(2_000))

    captures_at_once: Mapped[bool]
    """Fixed, since repeated requests must be identical."""

    requested_at: Mapped[datetime | None] = mapped_column("asked_at")
    """Since then only the provider knows the current step's outcome."""

    sent_at: Mapped[datetime | None]
    """The last charge request may take effect later."""

    due_at: Mapped[datetime | None]
    """For the sweeper."""

    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(default=clock.now)

    @classmethod
    def direct(cls, terms: Terms, capture: bool, provider: str) -> "Payment":
        values = _new(Status.CAPTURED if capture else Status.AUTHORIZED, provider)
        payment = cls(captures_at_once=capture, **values, **terms.columns())
        postgres.session().add(payment)
        postgres.session().flush()
        return payment

    @classmethod
    def lock_orders(cls, order_ids: Iterable[UUID], new: Iterable[dict[str, Any]]) -> None:
        """And create those of `new` that are missing."""
        rows.create_missing(cls, new, by="order_id")
        rows.lock(cls, order_ids, by="order_id")

    @classmethod
    def new(cls, order_id: UUID, terms: Terms, provider: str) -> dict[str, Any]:
        return _row(order_id, **_new(Status.AUTHORIZED, provider), **terms.columns())

    @classmethod
    def new_called_off(cls, order_id: UUID, provider: str) -> dict[str, Any]:
        """As voided."""
        nothing = {"user_id": None, "amount": 0, "currency": NO_CURRENCY, "payment_method": ""}
        voided = {"status": Status.VOIDED, "decline_reason": Reason.CANCELLED, "due_at": None}
        return _row(order_id, **_new(Status.VOIDED, provider) | nothing | voided)

    def set_terms(self, terms: Terms) -> None:
        """Unless set."""
        if self.user_id is None:
            for name, value in terms.columns().items():
                setattr(self, name, value)

    @classmethod
    def of_order(cls, order_id: UUID) -> "Payment | None":
        """Locked."""
        return rows.get_for_update(cls, order_id, by="order_id")

    @classmethod
    def get_for_update(cls, payment_id: UUID) -> "Payment":
        """Raises NotFound."""
        payment = rows.get_for_update(cls, payment_id)
        if payment is None:
            raise NotFound("There is no payment with this id.")
        return payment

    @classmethod
    def find(cls, payment_id: UUID) -> "Payment | None":
        return postgres.session().get(cls, payment_id)

    @classmethod
    def find_by_reference(cls, provider: str, reference: str) -> "Payment | None":
        query = select(cls).where(cls.provider == provider, cls.provider_reference == reference)
        return postgres.session().scalars(query.limit(1)).one_or_none()

    @classmethod
    def for_staff(cls, payment_id: UUID) -> "Payment":
        """Locked. Raises NotFound."""
        payment = postgres.session().get(cls, payment_id, with_for_update=True)
        if payment is None:
            raise NotFound("There is no payment with this id.")
        return payment

    @classmethod
    def visible_to(cls, caller: Caller, payment_id: UUID) -> "Payment":
        """Raises NotFound, also for another user's unless staff."""
        payment = cls.find(payment_id)
        if payment is None or not caller.owns(payment.user_id):
            raise NotFound("You have no payment with this id.")
        return payment

    @classmethod
    def page(cls, page: Page, user_id: UUID, order_id: UUID | None = None) -> tuple[Sequence["Payment"], str | None]:
        """Newest first."""
        query = select(cls).where(cls.user_id == user_id)
        if order_id is not None:
            query = query.where(cls.order_id == order_id)
        return newest_first(query, cls.created_at, cls.id, page)

    @classmethod
    def overdue(cls, now: datetime, limit: int) -> Sequence["Payment"]:
        """Locked; skips locked ones."""
        query = select(cls).where(cls.due_at <= now).order_by(cls.due_at).limit(limit)
        return postgres.session().scalars(query.with_for_update(skip_locked=True)).all()

    @classmethod
    def by_id(cls, payment_ids: Sequence[UUID], provider: str) -> dict[UUID, "Payment"]:
        query = select(cls).where(cls.id.in_(payment_ids), cls.provider == provider)
        return {payment.id: payment for payment in postgres.session().scalars(query)}

    @classmethod
    def created(cls, provider: str, since: datetime, until: datetime) -> Iterator["Payment"]:
        """Read in batches."""
        query = select(cls).where(cls.provider == provider, cls.created_at >= since, cls.created_at < until)
        yield from postgres.session().scalars(query.execution_options(yield_per=500))

    @property
    def is_unfinished(self) -> bool:
        return self.status in (Status.PENDING, Status.AUTHORIZED) and self.status != self.goal

    @property
    def is_called_off(self) -> bool:
        return self.goal == Status.VOIDED

    @property
    def is_over(self) -> bool:
        return self.status in (Status.DECLINED, Status.VOIDED, Status.REFUNDED)

    @property
    def may_yet_be_captured(self) -> bool:
        return not self.is_called_off and self.status in (Status.PENDING, Status.AUTHORIZED)

    @property
    def went_wrong(self) -> bool:
        return self.status == Status.FAILED or (self.is_called_off and self.status == Status.CAPTURED)

    @property
    def reason(self) -> Reason:
        return Reason.named(self.decline_reason or self.status, Reason.DECLINED)

    @property
    def sums(self) -> Sums:
        return ledger.sums([self.id])[self.id]

    def transition_to(self, status: Status, reason: Reason | None = None, captured: int | None = None) -> None:
        """`captured`: for a part capture, whose rest is released. Raises InvalidTransition."""
        if status not in NEXT.get(Status(self.status), ()):
            raise InvalidTransition(f"A {self.status} payment cannot become {status}.", current=self.status)
        moves = _MOVED.get((Status(self.status), status), ())
        taken = self.amount if captured is None else min(captured, self.amount)
        for move in moves:
            ledger.post(move, self.id, taken if move == Move.CAPTURED else self.amount, self.currency)
        if Move.CAPTURED in moves and taken < self.amount:
            ledger.post(Move.RELEASED, self.id, self.amount - taken, self.currency)
        self.status = status
        self.requested_at = self.action_url = None
        if not self.is_called_off:
            self.decline_reason = reason
        self._changed()

    def settle(self) -> None:
        """After money was returned to the customer, or came back."""
        is_gone = self.sums.is_gone
        if self.status == Status.CAPTURED and is_gone:
            self.transition_to(Status.REFUNDED)
        elif self.status == Status.REFUNDED and not is_gone:
            self.status = Status.CAPTURED
            self._changed()

    def capture(self) -> None:
        """Raises InvalidTransition."""
        if self.is_called_off or self.status in (Status.DECLINED, Status.VOIDED, Status.FAILED):
            state = "called off" if self.is_called_off else self.status
            raise InvalidTransition(f"This payment is {state} and cannot be captured.", current=self.status)
        if self.goal != Status.CAPTURED:
            self.goal = Status.CAPTURED
            self._changed()

    def call_off(self, reason: Reason = Reason.CANCELLED) -> None:
        """Final, whatever the order of commands."""
        if self.is_called_off:
            return
        self.goal = Status.VOIDED
        if self.is_over:
            return
        self.decline_reason = reason
        self._changed()
        if self.status == Status.PENDING and self.requested_at is None:
            self.transition_to(Status.VOIDED)

    def timed_out(self, now: datetime, authorize_timeout: timedelta, capture_timeout: timedelta) -> Reason | None:
        if self.requested_at is None or self.is_called_off:
            return None
        timeout = authorize_timeout if self.status == Status.PENDING else capture_timeout
        if now - self.requested_at < timeout + clock.LEEWAY:
            return None
        return Reason.NOT_CONFIRMED_IN_TIME if self.action_url else Reason.PROVIDER_UNAVAILABLE

    def begin_step(self) -> None:
        now = clock.now()
        self.requested_at = self.requested_at or now
        if self.may_yet_be_captured and self.status == Status.PENDING:
            self.sent_at = now
        self.postpone(now)

    def postpone(self, now: datetime) -> None:
        self.due_at = next_sweep(now, self.updated_at)

    def _changed(self) -> None:
        self.updated_at = clock.now()
        self.due_at = self.updated_at + SWEEP_AFTER if self.is_unfinished else None


def _row(order_id: UUID, **values: Any) -> dict[str, Any]:
    now = clock.now()
    defaults = {"status": Status.PENDING, "decline_reason": None, "captures_at_once": False}
    return {"id": uuid4(), "order_id": order_id, "created_at": now, "updated_at": now, **defaults, **values}


def _new(goal: Status, provider: str) -> dict[str, Any]:
    return {"goal": goal, "provider": provider, "due_at": clock.now() + SWEEP_AFTER}
