"""The interface of payment providers.

The outcome of a call without a response is unknown: it is looked up, and repeated only with the same idempotency key, which
is the payment's id for its charge and the refund's id for the refund.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from structlog import get_logger

from contracts.reasons import Reason
from services.payments.models import RefundStatus, Status

log = get_logger(__name__)

MAX_ID_CHARACTERS, MAX_TYPE_CHARACTERS = 255, 100
"""Of an event, as its columns hold them."""

Path = tuple[str, ...]
"""Names that lead to a value in nested objects."""

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
    captured: int = 0
    """Before refunds, in minor units."""

    gone: "Gone | None" = field(default=None, compare=False)
    """None where the response does not say; a lookup always does."""


@dataclass(frozen=True)
class Gone:
    """What has left the captured sum of a charge, whoever moved it; in minor units."""

    refunded: int = 0
    disputed: int = 0
    """Withheld by disputes that are not decided."""

    charged_back: int = 0
    """By disputes that were lost."""


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

    reference: str | None = None
    """The provider's id of the charge, or one that `charge_of` resolves."""


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

    fraud_warning: str
    """The type of the event that warns of fraud."""

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

    def charge_of(self, reference: str) -> str | None:
        """The charge's reference, from an id that events name it by."""
        ...

    def event(self, body: bytes, signature: str) -> Event:
        """Verify and parse a webhook. Raises Unverified only for its signature: providers give up on an endpoint that refuses."""
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


def read_event(body: bytes, payment: Path, references: Sequence[Path]) -> Event:
    """The event in a signed body; `payment` leads to our payment's id, the first of `references` that exists to the charge.

    An unreadable one is an event about no payment.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    event_id, event_type, payment_id = (_text_at(content, *each) for each in (("id",), ("type",), payment))
    named = (_text_at(content, *path)[:MAX_ID_CHARACTERS] for path in references)
    is_usable = 0 < len(event_id) <= MAX_ID_CHARACTERS and event_id.isprintable()
    return Event(
        # Without a usable id, the same body is the same event.
        event_id if is_usable else hashlib.sha256(body).hexdigest(),
        "".join(filter(str.isprintable, event_type))[:MAX_TYPE_CHARACTERS] or "unknown",
        payment_id_of(payment_id),
        next((reference for reference in named if reference.isprintable() and reference), None),
    )


def _text_at(content: Any, *path: str) -> str:
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, str) else ""
