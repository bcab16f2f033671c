"""The seam to payment providers: what we ask of one, and how it may answer.

A provider that is slow or away leaves us not knowing. That is resolved by asking it, and by repeating a request only with
the same idempotency key: a payment's id is the key of its charge, a refund's id the key of the refund.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from structlog import get_logger

from contracts.reasons import Reason
from services.payments.models import RefundStatus, Status

log = get_logger(__name__)

_SAME: Mapping[str, Reason] = {}


class ProviderUnavailable(Exception):
    """Whether it was done is unknown: ask again."""


class Refused(Exception):
    """The provider understood and will not do it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Charge:
    """What a provider says of a charge; `reference` is its id there. While it is pending, the customer may have to act."""

    reference: str | None
    status: Status
    decline_reason: Reason | None = None
    action_url: str | None = None


@dataclass(frozen=True)
class Repayment:
    """What a provider says of a refund: pending, refunded or refused; `reference` is its id there."""

    reference: str | None
    status: RefundStatus
    refusal_reason: Reason | None = None


@dataclass(frozen=True)
class Event:
    """What a webhook says has happened. It is a hint only: how the charge is now, the provider is asked."""

    id: str
    type: str
    payment_id: UUID | None
    """None when it is about nothing of ours."""


@dataclass(frozen=True)
class Reported:
    """One charge in the provider's report, in minor units: what it holds, what it ever took, what of that it gave back."""

    reference: str
    payment_id: UUID | None
    held: int
    captured: int
    refunded: int
    currency: str


class Provider(Protocol):
    """Every method raises ProviderUnavailable; those that move money raise Refused. Amounts in minor units."""

    name: str
    signature_header: str
    """Where its webhooks carry their signature."""

    def authorize(self, payment_id: UUID, amount: int, currency: str, method: str, capture: bool) -> Charge:
        """The payment's one charge; a charge that is declined is an answer, too."""
        ...

    def capture(self, payment_id: UUID, reference: str) -> Charge:
        """Take what was authorised, whole."""
        ...

    def void(self, payment_id: UUID, reference: str) -> Charge:
        """Let go what was authorised, or what waits for the customer."""
        ...

    def find(self, payment_id: UUID, reference: str | None) -> Charge | None:
        """The payment's charge as it is now, None when there is none."""
        ...

    def refund(self, refund_id: UUID, payment_id: UUID, reference: str, amount: int) -> Repayment:
        """Give back a part of the charge `reference`."""
        ...

    def find_refund(self, refund_id: UUID, reference: str) -> Repayment | None:
        """The refund of the charge `reference` as it is now, None when there is none."""
        ...

    def event(self, body: bytes, signature: str) -> Event:
        """What a webhook says, once its signature holds. Raises Unverified, also for what is signed and makes no sense."""
        ...

    def report(self, since: datetime, until: datetime) -> Iterator[Reported]:
        """Every charge that was made in that time, as it is now."""
        ...


def reason_of(provider: str, code: str | None, default: Reason, meanings: Mapping[str, Reason] = _SAME) -> Reason:
    """Ours for the provider's `code`. The code itself is logged where it is another."""
    code = (code or "")[:100]
    reason = meanings.get(code) or Reason.named(code, default)
    if code != reason:
        log.info("provider's reason translated", provider=provider, code=code, reason=reason)
    return reason


def as_id(text: str | None) -> UUID | None:
    """What may be the id of a payment of ours, from a place where a provider keeps what merchants call things."""
    try:
        return UUID(text or "")
    except ValueError:
        return None
