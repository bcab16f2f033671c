"""The interface of payment providers.

A call without a response is looked up, and repeated only with the same idempotency key: the payment's or refund's id.
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
"""As the columns hold them."""

Path = tuple[str, ...]

_SAME: Mapping[str, Reason] = {}


class ProviderUnavailable(Exception):
    """The outcome is unknown: look it up."""


class Refused(Exception):
    """Understood, but permanently refused."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Charge:
    reference: str | None
    status: Status
    decline_reason: Reason | None = None
    action_url: str | None = None
    captured: int = 0
    """Before refunds, in minor units."""

    gone: "Gone | None" = field(default=None, compare=False)
    """None if the response does not say; lookups always do."""


@dataclass(frozen=True)
class Gone:
    """What left the captured sum, by whomever; in minor units."""

    refunded: int = 0
    disputed: int = 0
    """By undecided disputes."""

    charged_back: int = 0
    """By lost disputes."""


@dataclass(frozen=True)
class Repayment:
    reference: str | None
    status: RefundStatus
    refusal_reason: Reason | None = None


@dataclass(frozen=True)
class Event:
    """Only a hint to look the charge up."""

    id: str
    type: str
    payment_id: UUID | None
    """None if not ours."""

    reference: str | None = None
    """The charge's id, or one that `charge_of` resolves."""


@dataclass(frozen=True)
class Reported:
    """In minor units; `captured` is before refunds."""

    reference: str
    payment_id: UUID | None
    held: int
    captured: int
    gone: Gone
    currency: str


class Provider(Protocol):
    """Calls raise ProviderUnavailable, and Refused if they move money. Amounts in minor units."""

    name: str
    signature_header: str

    fraud_warning: str

    def authorize(self, payment_id: UUID, amount: int, currency: str, method: str, capture: bool) -> Charge:
        """May be declined."""
        ...

    def capture(self, payment_id: UUID, reference: str) -> Charge: ...

    def void(self, payment_id: UUID, reference: str) -> Charge:
        """Also a charge that waits for the customer."""
        ...

    def find(self, payment_id: UUID, reference: str | None) -> Charge | None: ...

    def refund(self, refund_id: UUID, payment_id: UUID, reference: str, amount: int) -> Repayment: ...

    def find_refund(self, refund_id: UUID, reference: str) -> Repayment | None: ...

    def charge_of(self, reference: str) -> str | None: ...

    def event(self, body: bytes, signature: str) -> Event:
        """Raises Unverified only for the signature: providers give up on endpoints that refuse."""
        ...

    def report(self, since: datetime, until: datetime) -> Iterator[Reported]:
        """In their current state."""
        ...


def reason_of(provider: str, code: str | None, default: Reason, meanings: Mapping[str, Reason] = _SAME) -> Reason:
    """Logged if it differs from `code`."""
    code = (code or "")[:100]
    reason = meanings.get(code) or Reason.named(code, default)
    if code != reason:
        log.info("provider's reason translated", provider=provider, code=code, reason=reason)
    return reason


def payment_id_of(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


def read_event(body: bytes, payment: Path, references: Sequence[Path]) -> Event:
    """An unreadable body gives an event about no payment."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    event_id, event_type, payment_id = (_text_at(content, *each) for each in (("id",), ("type",), payment))
    named = (_text_at(content, *path)[:MAX_ID_CHARACTERS] for path in references)
    is_usable = 0 < len(event_id) <= MAX_ID_CHARACTERS and event_id.isprintable()
    return Event(
        # Without a usable id, the body identifies the event.
        event_id if is_usable else hashlib.sha256(body).hexdigest(),
        "".join(filter(str.isprintable, event_type))[:MAX_TYPE_CHARACTERS] or "unknown",
        payment_id_of(payment_id),
        next((reference for reference in named if reference.isprintable() and reference), None),
    )


def _text_at(content: Any, *path: str) -> str:
    for name in path:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, str) else ""
