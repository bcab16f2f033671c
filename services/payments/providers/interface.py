"""The interface of payment providers.

The outcome of a call without a response is unknown: it is looked up, and repeated only with the same idempotency key, which
is the payment's id for its charge and the refund's id for the refund.
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
    """Whether the request was carried out is unknown: look it up."""


class Refused(Exception):
    """The provider understood the request and will not carry it out."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Charge:
    """`reference` is its id at the provider. While it is pending, the customer may have to confirm at `action_url`."""

    reference: str | None
    status: Status
    decline_reason: Reason | None = None
    action_url: str | None = None


@dataclass(frozen=True)
class Repayment:
    """A refund at the provider: pending, refunded or refused."""

    reference: str | None
    status: RefundStatus
    refusal_reason: Reason | None = None


@dataclass(frozen=True)
class Event:
    """A webhook's event: only a hint to look the charge up."""

    id: str
    type: str
    payment_id: UUID | None
    """None if it names no payment of ours."""


@dataclass(frozen=True)
class Reported:
    """One charge in the provider's report, in minor units. `captured` is before refunds."""

    reference: str
    payment_id: UUID | None
    held: int
    captured: int
    refunded: int
    currency: str


class Provider(Protocol):
    """Calls raise ProviderUnavailable; those that move money also raise Refused. Amounts in minor units."""

    name: str
    signature_header: str
    """The header of a webhook that holds its signature."""

    def authorize(self, payment_id: UUID, amount: int, currency: str, method: str, capture: bool) -> Charge:
        """Make the payment's one charge, which may be declined."""
        ...

    def capture(self, payment_id: UUID, reference: str) -> Charge:
        """Capture the whole authorised amount."""
        ...

    def void(self, payment_id: UUID, reference: str) -> Charge:
        """Release an authorisation, or a charge that waits for the customer."""
        ...

    def find(self, payment_id: UUID, reference: str | None) -> Charge | None:
        """The payment's charge, None if there is none."""
        ...

    def refund(self, refund_id: UUID, payment_id: UUID, reference: str, amount: int) -> Repayment:
        """Refund all or part of the charge `reference`."""
        ...

    def find_refund(self, refund_id: UUID, reference: str) -> Repayment | None:
        """The refund of the charge `reference`, None if there is none."""
        ...

    def event(self, body: bytes, signature: str) -> Event:
        """Verify and parse a webhook. Raises Unverified, also for a signed body that is not an event."""
        ...

    def report(self, since: datetime, until: datetime) -> Iterator[Reported]:
        """Every charge created in that time, in its current state."""
        ...


def reason_of(provider: str, code: str | None, default: Reason, meanings: Mapping[str, Reason] = _SAME) -> Reason:
    """Our reason for the provider's `code`, which is logged where it differs."""
    code = (code or "")[:100]
    reason = meanings.get(code) or Reason.named(code, default)
    if code != reason:
        log.info("provider's reason translated", provider=provider, code=code, reason=reason)
    return reason


def payment_id_of(text: str | None) -> UUID | None:
    """The payment id in a provider's reference or metadata, if there is one."""
    try:
        return UUID(text or "")
    except ValueError:
        return None
