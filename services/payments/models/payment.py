"""One payment: what the provider has said of it (`status`), where it is to end (`goal`), and the only ways to change them.

The two together are the memory that no crash takes: as long as they differ there is something to do. Every change of status
that moves money is posted to the ledger in the same breath.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Select, String, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.base.problems import NotFound
from chassis.security.auth import Caller
from chassis.storage import postgres
from chassis.storage.columns import MinorUnits
from chassis.web.pagination import Page, newest_first
from contracts.reasons import Reason
from services.payments.models import ledger
from services.payments.models.base import Base
from services.payments.models.ledger import Move, Sums
from services.payments.models.patience import PATIENCE, next_look
from services.payments.models.status import NEXT, OutOfTurn, Status
from services.payments.models.terms import Terms

NO_CURRENCY = "XXX"
"""ISO 4217 for "no currency": of a payment that was called off before anybody said what it is about."""

_MOVED = {
    (Status.PENDING, Status.AUTHORIZED): [Move.AUTHORIZED],
    (Status.PENDING, Status.CAPTURED): [Move.AUTHORIZED, Move.CAPTURED],
    (Status.AUTHORIZED, Status.CAPTURED): [Move.CAPTURED],
    (Status.AUTHORIZED, Status.VOIDED): [Move.RELEASED],
    (Status.FAILED, Status.CAPTURED): [Move.CAPTURED],
    (Status.FAILED, Status.VOIDED): [Move.RELEASED],
}
"""What each change of status does to the whole amount of the payment; other changes move nothing."""


class Payment(Base):
    __tablename__ = "payments"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    """Also our idempotency key at the provider."""

    order_id: Mapped[UUID | None] = mapped_column(unique=True)
    """Empty for a direct payment. Only the saga sets it: an order has one payment, and no caller of the API may take its place."""

    user_id: Mapped[UUID | None]
    """Empty for a payment that was called off before it was asked for."""

    amount: Mapped[int] = mapped_column(MinorUnits)
    currency: Mapped[str] = mapped_column(String(3))
    payment_method: Mapped[str] = mapped_column(String(64))
    """The provider's token; empty where what we were given was none."""

    status: Mapped[str] = mapped_column(String(50), default=Status.PENDING)
    goal: Mapped[str] = mapped_column(String(50))
    """AUTHORIZED, CAPTURED, or VOIDED: in the end nothing is held or kept, by a refund if it has to be."""

    decline_reason: Mapped[str | None] = mapped_column(String(100))
    """Why it was declined or called off: the code of a Reason."""

    provider: Mapped[str] = mapped_column(String(50))
    provider_reference: Mapped[str | None] = mapped_column(String(255))
    """The provider's id of the charge."""

    action_url: Mapped[str | None] = mapped_column(String(2_000))
    """The provider's page on which the customer has to confirm the payment, as long as they have to."""

    captures_at_once: Mapped[bool]
    """Whether authorisation captures as well. Never changes: a request that is repeated to the provider must be the same."""

    asked_at: Mapped[datetime | None]
    """When the provider was first asked for the step in hand. From then on only the provider knows whether it was taken."""

    sent_at: Mapped[datetime | None]
    """When the provider was last asked to make the charge: soon after, a charge that is not there may still come."""

    due_at: Mapped[datetime | None]
    """When the sweeper takes the payment up if nobody has moved it by then; empty when there is nothing to do."""

    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(default=clock.now)
    """When status or goal last changed."""

    @classmethod
    def direct(cls, terms: Terms, capture: bool, provider: str) -> "Payment":
        """A payment of the user's own, for no order."""
        values = _new(Status.CAPTURED if capture else Status.AUTHORIZED, provider)
        payment = cls(captures_at_once=capture, **values, **terms.columns())
        postgres.session().add(payment)
        postgres.session().flush()
        return payment

    @classmethod
    def for_order(cls, order_id: UUID, terms: Terms, provider: str) -> "Payment":
        """The one payment of the order, locked; made now if there is none."""
        payment = cls._take(order_id, **_new(Status.AUTHORIZED, provider), **terms.columns())
        if payment.user_id is None:
            for name, value in terms.columns().items():
                setattr(payment, name, value)
        return payment

    @classmethod
    def called_off(cls, order_id: UUID, provider: str) -> "Payment":
        """The one payment of the order, locked; if there is none, one that is voided before it is asked for."""
        nothing = {"amount": 0, "currency": NO_CURRENCY, "payment_method": ""}
        voided = {"status": Status.VOIDED, "decline_reason": Reason.CANCELLED, "due_at": None}
        return cls._take(order_id, **_new(Status.VOIDED, provider) | nothing | voided)

    @classmethod
    def _take(cls, order_id: UUID, **values: Any) -> "Payment":
        # Insert first: of two messages about one new order, the second waits here until the first is committed.
        row = insert(cls).values(order_id=order_id, captures_at_once=False, **values)
        postgres.session().execute(row.on_conflict_do_nothing(index_elements=[cls.order_id]))
        return postgres.session().scalars(cls._of_order(order_id)).one()

    @classmethod
    def asked_for_by(cls, order_id: UUID) -> "Payment | None":
        """The payment that the order's saga asked for, locked."""
        return postgres.session().scalars(cls._of_order(order_id)).one_or_none()

    @classmethod
    def _of_order(cls, order_id: UUID) -> Select["Payment"]:
        return select(cls).where(cls.order_id == order_id).with_for_update()

    @classmethod
    def get_for_update(cls, payment_id: UUID) -> "Payment":
        return postgres.session().get_one(cls, payment_id, with_for_update=True)

    @classmethod
    def known(cls, payment_id: UUID) -> "Payment | None":
        return postgres.session().get(cls, payment_id)

    @classmethod
    def for_staff(cls, payment_id: UUID) -> "Payment":
        """Any payment, locked. Raises NotFound."""
        payment = postgres.session().get(cls, payment_id, with_for_update=True)
        if payment is None:
            raise NotFound("There is no such payment.")
        return payment

    @classmethod
    def visible_to(cls, caller: Caller, payment_id: UUID) -> "Payment":
        """The payment, if it is the caller's own or the caller is staff. Raises NotFound, also for someone else's."""
        payment = cls.known(payment_id)
        if payment is None or not caller.owns(payment.user_id):
            raise NotFound("You have no such payment.")
        return payment

    @classmethod
    def page(cls, page: Page, user_id: UUID) -> tuple[Sequence["Payment"], str | None]:
        """One user's payments, newest first."""
        return newest_first(select(cls).where(cls.user_id == user_id), cls.created_at, cls.id, page)

    @classmethod
    def overdue(cls, now: datetime, limit: int) -> Sequence["Payment"]:
        """Unfinished payments that nobody has moved for long, those due first first, locked; locked ones are skipped."""
        query = select(cls).where(cls.due_at <= now).order_by(cls.due_at).limit(limit)
        return postgres.session().scalars(query.with_for_update(skip_locked=True)).all()

    @classmethod
    def among(cls, payment_ids: Sequence[UUID], provider: str) -> dict[UUID, "Payment"]:
        """Those of the provider's payments with these ids, by id."""
        query = select(cls).where(cls.id.in_(payment_ids), cls.provider == provider)
        return {payment.id: payment for payment in postgres.session().scalars(query)}

    @classmethod
    def begun(cls, provider: str, since: datetime, until: datetime) -> Iterator["Payment"]:
        """The provider's payments that were begun in that time; read in batches, however many there are."""
        query = select(cls).where(cls.provider == provider, cls.created_at >= since, cls.created_at < until)
        yield from postgres.session().scalars(query.execution_options(yield_per=500))

    @property
    def is_unfinished(self) -> bool:
        """The provider is to be asked for something. What was captured and called off ends by its refund."""
        return self.status in (Status.PENDING, Status.AUTHORIZED) and self.status != self.goal

    @property
    def is_called_off(self) -> bool:
        return self.goal == Status.VOIDED

    @property
    def is_over(self) -> bool:
        """Nothing of it is held or kept, and nothing will be."""
        return self.status in (Status.DECLINED, Status.VOIDED, Status.REFUNDED)

    @property
    def may_yet_be_captured(self) -> bool:
        return not self.is_called_off and self.status in (Status.PENDING, Status.AUTHORIZED)

    @property
    def went_wrong(self) -> bool:
        """It went as nobody wanted it, at the provider or behind our back: somebody has to look."""
        return self.status == Status.FAILED or (self.is_called_off and self.status == Status.CAPTURED)

    @property
    def reason(self) -> Reason:
        """Why there will be no money."""
        return Reason.named(self.decline_reason or self.status, Reason.DECLINED)

    @property
    def sums(self) -> Sums:
        return ledger.sums([self.id])[self.id]

    def transition_to(self, status: Status, reason: Reason | None = None) -> None:
        """Raises OutOfTurn for a step that the present status does not allow."""
        if status not in NEXT.get(Status(self.status), ()):
            raise OutOfTurn(f"The payment is {self.status}: it cannot become {status}.", current=self.status)
        for move in _MOVED.get((Status(self.status), status), ()):
            ledger.post(move, self.id, self.amount, self.currency)
        self.status = status
        self.asked_at = self.action_url = None
        if not self.is_called_off:
            self.decline_reason = reason
        self._changed()

    def capture(self) -> None:
        """Let the money be taken; again changes nothing. Raises OutOfTurn where there is none to take."""
        if self.is_called_off or self.status in (Status.DECLINED, Status.VOIDED, Status.FAILED):
            state = "called off" if self.is_called_off else self.status
            raise OutOfTurn(f"The payment is {state}: it cannot be captured.", current=self.status)
        if self.goal != Status.CAPTURED:
            self.goal = Status.CAPTURED
            self._changed()

    def call_off(self, reason: Reason = Reason.CANCELLED) -> None:
        """In the end it shall have cost nothing: now if the provider was never asked, else once the provider has said so.

        Nothing takes this back, so that it comes to the same whenever it is said.
        """
        if self.is_called_off:
            return
        self.goal = Status.VOIDED
        if self.is_over:
            return
        self.decline_reason = reason
        self._changed()
        if self.status == Status.PENDING and self.asked_at is None:
            self.transition_to(Status.VOIDED)

    def hopeless(self, now: datetime, authorize_patience: timedelta, capture_patience: timedelta) -> Reason | None:
        """Why it is to be called off: the provider has told nothing for longer than those who wait can be left waiting."""
        if self.asked_at is None or self.is_called_off:
            return None
        patience = authorize_patience if self.status == Status.PENDING else capture_patience
        if now - self.asked_at < patience:
            return None
        return Reason.NOT_CONFIRMED_IN_TIME if self.action_url else Reason.PROVIDER_UNAVAILABLE

    def ask(self) -> None:
        """The provider is about to be asked."""
        now = clock.now()
        self.asked_at = self.asked_at or now
        if self.may_yet_be_captured and self.status == Status.PENDING:
            self.sent_at = now
        self.put_off(now)

    def put_off(self, now: datetime) -> None:
        """Let the sweeper wait: the longer, the longer the payment has been as it is."""
        self.due_at = next_look(now, self.updated_at)

    def _changed(self) -> None:
        self.updated_at = clock.now()
        self.due_at = self.updated_at + PATIENCE if self.is_unfinished else None


def _new(goal: Status, provider: str) -> dict[str, Any]:
    return {"goal": goal, "provider": provider, "due_at": clock.now() + PATIENCE}
