"""The saga's steps. Constants, not settings: an order's row must follow from its events alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from chassis.messaging.message import Message
from contracts.payments import (
    AuthorizePayment,
    CapturePayment,
    CaptureRefused,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDeclined,
    PaymentRefunded,
    PaymentVoided,
    RefundPayment,
    RefundRefused,
    VoidPayment,
)
from contracts.reasons import Reason
from contracts.stock import (
    CommitStock,
    ReleaseStock,
    ReserveStock,
    RestockStock,
    StockCommitted,
    StockRefused,
    StockReleased,
    StockReserved,
    StockRestocked,
)

MAX_WAIT = timedelta(hours=1)


class Outcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"
    CALLED_OFF = "called off"
    """Undone before the reply."""


@dataclass(frozen=True)
class RetryPolicy:
    """The wait starts at `first` and doubles; after `times` the step fails."""

    first: timedelta
    times: int

    def after(self, attempts: int) -> timedelta:
        return min(self.first * 2 ** min(attempts - 1, 20), MAX_WAIT)


RETRY_POLICIES: Mapping[type[Message], RetryPolicy] = {
    # The customer waits: 4 minutes for stock, 16 to confirm with the bank.
    ReserveStock: RetryPolicy(timedelta(seconds=15), 4),
    AuthorizePayment: RetryPolicy(timedelta(seconds=30), 5),
    # Confirmed: try for an hour before cancelling.
    CommitStock: RetryPolicy(timedelta(seconds=15), 8),
    CapturePayment: RetryPolicy(timedelta(seconds=15), 8),
    # Compensations must happen: stuck after 16 minutes, repeated for ever.
    ReleaseStock: RetryPolicy(timedelta(seconds=15), 6),
    VoidPayment: RetryPolicy(timedelta(seconds=15), 6),
    RestockStock: RetryPolicy(timedelta(seconds=15), 6),
    RefundPayment: RetryPolicy(timedelta(seconds=15), 6),
}

FORWARD = {
    ReserveStock.type: Reason.RESERVATION_TIMED_OUT,
    AuthorizePayment.type: Reason.AUTHORIZATION_TIMED_OUT,
    CommitStock.type: Reason.COMMITMENT_TIMED_OUT,
    CapturePayment.type: Reason.CAPTURE_TIMED_OUT,
}
"""With the cancellation reason when unanswered."""

CALLS_OFF: Mapping[type[Message], type[Message]] = {ReleaseStock: ReserveStock, VoidPayment: AuthorizePayment}
"""Commands that make another's reply irrelevant."""

REPLIES: Mapping[type[Message], tuple[Outcome, tuple[type[Message], ...]]] = {
    StockReserved: (Outcome.DONE, (ReserveStock,)),
    StockRefused: (Outcome.REFUSED, (ReserveStock, CommitStock)),
    StockCommitted: (Outcome.DONE, (CommitStock,)),
    StockReleased: (Outcome.DONE, (ReleaseStock,)),
    StockRestocked: (Outcome.DONE, (RestockStock,)),
    PaymentAuthorized: (Outcome.DONE, (AuthorizePayment,)),
    PaymentDeclined: (Outcome.REFUSED, (AuthorizePayment,)),
    PaymentCaptured: (Outcome.DONE, (CapturePayment,)),
    CaptureRefused: (Outcome.REFUSED, (CapturePayment,)),
    PaymentVoided: (Outcome.DONE, (VoidPayment,)),
    PaymentRefunded: (Outcome.DONE, (RefundPayment,)),
    RefundRefused: (Outcome.REFUSED, (RefundPayment,)),
}


@dataclass(frozen=True)
class Step:
    version: int

    attempts: int
    due_at: datetime

    outcome: Outcome | None = None
    amount: int = 0
    """Of a refund, in minor units."""

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    def ended(self, outcome: Outcome) -> "Step":
        return replace(self, outcome=outcome)


def key_of(message: Message, command: type[Message] | None = None) -> str:
    """Refunds get one key each."""
    name = (command or type(message)).type
    return (
        f"{name} {message.refund_id}" if isinstance(message, RefundPayment | PaymentRefunded | RefundRefused) else name
    )


def command_of(key: str) -> type[Message]:
    return _COMMANDS[key.partition(" ")[0]]


def attempted(command: Message, version: int, occurred_at: datetime, previous: Step | None) -> Step:
    attempts = previous.attempts + 1 if previous is not None else 1
    due_at = occurred_at + RETRY_POLICIES[type(command)].after(attempts)
    return Step(version, attempts, due_at, amount=command.amount if isinstance(command, RefundPayment) else 0)


_COMMANDS = {command.type: command for command in RETRY_POLICIES}
