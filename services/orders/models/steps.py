"""The steps of an order's saga: the command that asks for each, the messages that answer it, and how long that may take.

The numbers are constants and no settings: from them and its events alone an order's row is made again, deadlines included.
"""

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
    """Undone before it was answered: whatever is answered yet, no longer matters."""


@dataclass(frozen=True)
class RetryPolicy:
    """An answer may take `first` after the first time of asking, then twice as long each time; after `times` it is given up."""

    first: timedelta
    times: int

    def after(self, attempts: int) -> timedelta:
        """How long to wait for an answer once it was asked for so often."""
        return min(self.first * 2 ** min(attempts - 1, 20), MAX_WAIT)


PATIENCE: Mapping[type[Message], RetryPolicy] = {
    # The customer waits: four minutes for stock, and a quarter of an hour for whom a bank sends to their telephone.
    ReserveStock: RetryPolicy(timedelta(seconds=15), 4),
    AuthorizePayment: RetryPolicy(timedelta(seconds=30), 5),
    # The customer has our word: an hour before it is taken back.
    CommitStock: RetryPolicy(timedelta(seconds=15), 8),
    CapturePayment: RetryPolicy(timedelta(seconds=15), 8),
    # What undoes has to be done: after a quarter of an hour somebody is told, and it is asked for ever after.
    ReleaseStock: RetryPolicy(timedelta(seconds=15), 6),
    VoidPayment: RetryPolicy(timedelta(seconds=15), 6),
    RestockStock: RetryPolicy(timedelta(seconds=15), 6),
    RefundPayment: RetryPolicy(timedelta(seconds=15), 6),
}
"""Every command of the saga."""

FORWARD = {
    ReserveStock.type: Reason.RESERVATION_TIMED_OUT,
    AuthorizePayment.type: Reason.AUTHORIZATION_TIMED_OUT,
    CommitStock.type: Reason.COMMITMENT_TIMED_OUT,
    CapturePayment.type: Reason.CAPTURE_TIMED_OUT,
}
"""The commands that bring an order forward, and why it is cancelled when nobody answers."""

CALLS_OFF: Mapping[type[Message], type[Message]] = {ReleaseStock: ReserveStock, VoidPayment: AuthorizePayment}
"""The command that makes the answer to another one pointless."""

ANSWERS: Mapping[type[Message], tuple[Outcome, tuple[type[Message], ...]]] = {
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
"""How each answer ends the step that one of the commands began."""


@dataclass(frozen=True)
class Step:
    """One step of one order: open as long as it has no outcome."""

    version: int
    """Of the event that asked for it last."""

    attempts: int
    due_at: datetime
    """When an answer is late."""

    outcome: Outcome | None = None
    amount: int = 0
    """Of a refund, in minor units."""

    @property
    def is_open(self) -> bool:
        return self.outcome is None

    def ended(self, outcome: Outcome) -> "Step":
        return replace(self, outcome=outcome)


def key_of(message: Message, command: type[Message] | None = None) -> str:
    """The name of the step that a command begins, or that an answer to `command` ends. Refunds are several."""
    name = (command or type(message)).type
    return (
        f"{name} {message.refund_id}" if isinstance(message, RefundPayment | PaymentRefunded | RefundRefused) else name
    )


def command_of(key: str) -> type[Message]:
    return _COMMANDS[key.partition(" ")[0]]


def asked(command: Message, version: int, occurred_at: datetime, before: Step | None) -> Step:
    """The step once `command` was said (again)."""
    attempts = before.attempts + 1 if before is not None else 1
    due_at = occurred_at + PATIENCE[type(command)].after(attempts)
    return Step(version, attempts, due_at, amount=command.amount if isinstance(command, RefundPayment) else 0)


_COMMANDS = {command.type: command for command in PATIENCE}
