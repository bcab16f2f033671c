"""The double-entry ledger: the only record of what is held, captured and refunded.

The database refuses changes, deletions, duplicates, and negative balances except the customer's (migration 0002).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Identity, String, case, func, select
from sqlalchemy.orm import Mapped, mapped_column

from chassis.base import clock
from chassis.storage import postgres, rows
from services.payments.models.base import Base


class Account(StrEnum):
    CUSTOMER = "customer"
    HELD = "held"

    CAPTURED = "captured"
    REFUNDING = "refunding"

    DISPUTED = "disputed"
    """Withheld until a dispute is decided."""

    SETTLED = "settled"
    """Returned to the customer by other means; ours at the provider."""


class Move(StrEnum):
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    RELEASED = "released"
    REFUND_REQUESTED = "refund_asked"
    REFUNDED = "refunded"
    REFUND_REFUSED = "refund_refused"
    REFUND_RETURNED = "refund_returned"
    """By the customer's bank, after it had succeeded."""

    # Made at the provider without us.
    EXTERNAL_REFUND = "external_refund"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    EXTERNAL_RETURNED = "external_returned"
    CHARGEBACK_RETURNED = "chargeback_returned"

    SETTLED = "settled"
    SETTLEMENT_FOUND = "settlement_found"
    """It was a refund at the provider, booked next."""


MOVES = {
    Move.AUTHORIZED: (Account.CUSTOMER, Account.HELD),
    Move.CAPTURED: (Account.HELD, Account.CAPTURED),
    Move.RELEASED: (Account.HELD, Account.CUSTOMER),
    Move.REFUND_REQUESTED: (Account.CAPTURED, Account.REFUNDING),
    Move.REFUNDED: (Account.REFUNDING, Account.CUSTOMER),
    Move.REFUND_REFUSED: (Account.REFUNDING, Account.CAPTURED),
    Move.EXTERNAL_REFUND: (Account.CAPTURED, Account.CUSTOMER),
    Move.DISPUTED: (Account.CAPTURED, Account.DISPUTED),
    Move.DISPUTE_WON: (Account.DISPUTED, Account.CAPTURED),
    Move.DISPUTE_LOST: (Account.DISPUTED, Account.CUSTOMER),
    Move.REFUND_RETURNED: (Account.CUSTOMER, Account.CAPTURED),
    Move.EXTERNAL_RETURNED: (Account.CUSTOMER, Account.CAPTURED),
    Move.CHARGEBACK_RETURNED: (Account.CUSTOMER, Account.CAPTURED),
    Move.SETTLED: (Account.CAPTURED, Account.SETTLED),
    Move.SETTLEMENT_FOUND: (Account.SETTLED, Account.CAPTURED),
}
"""From, to."""


class Entry(Base):
    __tablename__ = "ledger"

    position: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    payment_id: Mapped[UUID] = mapped_column(ForeignKey("payments.id"))
    refund_id: Mapped[UUID | None] = mapped_column(ForeignKey("refunds.id"))
    move: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(20))
    target: Mapped[str] = mapped_column(String(20))
    amount: Mapped[int] = mapped_column(BigInteger)
    """In minor units, above zero."""

    currency: Mapped[str] = mapped_column(String(3))
    occurred_at: Mapped[datetime] = mapped_column(default=clock.now)


@dataclass(frozen=True)
class Sums:
    """In minor units. `captured` is before refunds; `refunded` includes external ones."""

    held: int = 0
    captured: int = 0
    refunding: int = 0
    refunded: int = 0
    refunded_externally: int = 0
    disputed: int = 0
    charged_back: int = 0
    """Lost in disputes."""

    settled: int = 0
    """Returned to the customer by other means."""

    @property
    def refundable(self) -> int:
        gone = self.refunding + self.refunded + self.disputed + self.charged_back + self.settled
        return self.captured - gone

    @property
    def is_gone(self) -> bool:
        return 0 < self.captured == self.refunded + self.charged_back + self.settled


def post(move: Move, payment_id: UUID, amount: int, currency: str, refund_id: UUID | None = None) -> None:
    source, target = MOVES[move]
    terms = {"amount": amount, "currency": currency, "occurred_at": clock.now()}
    row = {"payment_id": payment_id, "refund_id": refund_id, "move": move, "source": source, "target": target, **terms}
    rows.add(Entry, row)
    # The database refuses a wrong move at once.
    postgres.session().flush()


def sums(payment_ids: Iterable[UUID]) -> dict[UUID, Sums]:
    """Includes payments without movements."""
    moved: dict[UUID, dict[str, int]] = {payment_id: {} for payment_id in payment_ids}
    query = select(Entry.payment_id, Entry.move, func.sum(Entry.amount)).group_by(Entry.payment_id, Entry.move)
    for payment_id, move, amount in postgres.session().execute(query.where(Entry.payment_id.in_(moved))):
        moved[payment_id][move] = int(amount)
    return {payment_id: _summed(moves) for payment_id, moves in moved.items()}


def entries(payment_id: UUID) -> Sequence[Entry]:
    """Oldest first."""
    query = select(Entry).where(Entry.payment_id == payment_id).order_by(Entry.position)
    return postgres.session().scalars(query).all()


def last_position(payment_id: UUID) -> int:
    """0 without movements."""
    return postgres.session().scalar(select(func.max(Entry.position)).where(Entry.payment_id == payment_id)) or 0


def open_disputes() -> int:
    withheld = func.sum(case((Entry.move == Move.DISPUTED, Entry.amount), else_=-Entry.amount))
    disputed = (
        select(Entry.payment_id)
        .where(Entry.move.in_((Move.DISPUTED, Move.DISPUTE_WON, Move.DISPUTE_LOST)))
        .group_by(Entry.payment_id)
        .having(withheld > 0)
    )
    return postgres.session().scalar(select(func.count()).select_from(disputed.subquery())) or 0


def last_moved_at(payment_id: UUID) -> datetime | None:
    return postgres.session().scalar(select(func.max(Entry.occurred_at)).where(Entry.payment_id == payment_id))


def _summed(moved: dict[str, int]) -> Sums:
    def of(move: Move) -> int:
        return moved.get(move, 0)

    refunded_externally = of(Move.EXTERNAL_REFUND) - of(Move.EXTERNAL_RETURNED)
    return Sums(
        held=of(Move.AUTHORIZED) - of(Move.CAPTURED) - of(Move.RELEASED),
        captured=of(Move.CAPTURED),
        refunding=of(Move.REFUND_REQUESTED) - of(Move.REFUNDED) - of(Move.REFUND_REFUSED),
        refunded=of(Move.REFUNDED) - of(Move.REFUND_RETURNED) + refunded_externally,
        refunded_externally=refunded_externally,
        disputed=of(Move.DISPUTED) - of(Move.DISPUTE_WON) - of(Move.DISPUTE_LOST),
        charged_back=of(Move.DISPUTE_LOST) - of(Move.CHARGEBACK_RETURNED),
        settled=of(Move.SETTLED) - of(Move.SETTLEMENT_FOUND),
    )
