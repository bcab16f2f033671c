"""Refunds. Changing one requires its payment's lock."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.storage import postgres
from chassis.storage.columns import MinorUnits, PydanticJSON
from contracts.reasons import Note, Reason
from services.payments.models import ledger
from services.payments.models.base import Base
from services.payments.models.ledger import Move
from services.payments.models.payment import Payment
from services.payments.models.status import RefundStatus
from services.payments.models.sweeping import SWEEP_AFTER, next_sweep

BY_ORDER, BY_STAFF, BY_US = "order", "staff", "us"
""""us": a called-off payment was captured."""


class Refund(Base):
    __tablename__ = "refunds"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    """Also the idempotency key at the provider."""

    payment_id: Mapped[UUID] = mapped_column(ForeignKey("payments.id"))
    amount: Mapped[int] = mapped_column(MinorUnits)
    reason: Mapped[str] = mapped_column(String(200))
    note: Mapped[Note | None] = mapped_column(PydanticJSON(Note))
    requested_by: Mapped[str] = mapped_column("asked_by", String(20))
    status: Mapped[str] = mapped_column(String(50), default=RefundStatus.WAITING)
    refusal_reason: Mapped[str | None] = mapped_column(String(100))
    provider_reference: Mapped[str | None] = mapped_column(String(255))

    requested_at: Mapped[datetime | None] = mapped_column("asked_at")
    """Since then only the provider knows the outcome."""

    due_at: Mapped[datetime | None]
    """For the sweeper."""

    created_at: Mapped[datetime] = mapped_column(default=clock.now)
    updated_at: Mapped[datetime] = mapped_column(default=clock.now)

    @classmethod
    def of(
        cls,
        payment: Payment,
        amount: int,
        reason: Reason,
        requested_by: str,
        note: Note | None = None,
        refund_id: UUID | None = None,
    ) -> "Refund":
        """`payment` is locked, `amount` in minor units above zero."""
        refund = cls(
            id=refund_id or uuid4(),
            payment_id=payment.id,
            amount=amount,
            reason=reason,
            note=note,
            requested_by=requested_by,
            status=RefundStatus.WAITING,
        )
        postgres.session().add(refund)
        postgres.session().flush()
        if not payment.may_yet_be_captured:
            refund.begin(payment)
        return refund

    @classmethod
    def find(cls, refund_id: UUID) -> "Refund | None":
        return postgres.session().get(cls, refund_id)

    @classmethod
    def get_for_update(cls, refund_id: UUID) -> tuple["Refund", Payment]:
        """With its locked payment."""
        refund = postgres.session().get_one(cls, refund_id)
        payment = Payment.get_for_update(refund.payment_id)
        postgres.session().refresh(refund)
        return refund, payment

    @classmethod
    def of_payment(cls, payment_id: UUID, *statuses: RefundStatus) -> Sequence["Refund"]:
        """Oldest first."""
        query = select(cls).where(cls.payment_id == payment_id).order_by(cls.created_at, cls.id)
        return postgres.session().scalars(query.where(cls.status.in_(statuses)) if statuses else query).all()

    @classmethod
    def overdue(cls, now: datetime, limit: int) -> Sequence["Refund"]:
        """Locked; skips locked ones."""
        query = select(cls).where(cls.due_at <= now).order_by(cls.due_at).limit(limit)
        return postgres.session().scalars(query.with_for_update(skip_locked=True)).all()

    @property
    def is_pending(self) -> bool:
        return self.status == RefundStatus.PENDING

    def begin(self, payment: Payment) -> None:
        """Refused if there is not enough."""
        if self.amount > payment.sums.refundable:
            self._transition_to(
                RefundStatus.REFUSED, Reason.NOT_CAPTURED if payment.sums.captured == 0 else Reason.EXCEEDS_CAPTURED
            )
            return
        self._post(Move.REFUND_REQUESTED, payment)
        self._transition_to(RefundStatus.PENDING)

    def begin_step(self) -> None:
        now = clock.now()
        self.requested_at = self.requested_at or now
        self.postpone(now)

    def postpone(self, now: datetime) -> None:
        self.due_at = next_sweep(now, self.updated_at)

    def settle(self, payment: Payment, reference: str | None, refusal_reason: Reason | None) -> None:
        self.provider_reference = reference
        self._post(Move.REFUND_REFUSED if refusal_reason else Move.REFUNDED, payment)
        self._transition_to(RefundStatus.REFUSED if refusal_reason else RefundStatus.REFUNDED, refusal_reason)
        payment.settle()

    def take_back(self, payment: Payment, reason: Reason) -> None:
        self._post(Move.REFUND_RETURNED, payment)
        self._transition_to(RefundStatus.RETURNED, reason)
        payment.settle()

    def _post(self, move: Move, payment: Payment) -> None:
        ledger.post(move, payment.id, self.amount, payment.currency, self.id)

    def _transition_to(self, status: RefundStatus, refusal_reason: Reason | None = None) -> None:
        self.status = status
        self.refusal_reason = refusal_reason
        self.updated_at = clock.now()
        self.due_at = self.updated_at + SWEEP_AFTER if self.is_pending else None
