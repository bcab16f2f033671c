"""Compare our ledger with the provider's report. Nothing is repaired.

Money that moved in the last minutes may be booked on one side only; it is left for the next run.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar
from uuid import UUID

from chassis.storage import store
from services.payments.models import Payment, ledger
from services.payments.models.ledger import Sums
from services.payments.providers import Provider
from services.payments.providers.interface import Reported

T = TypeVar("T")

BATCH = 500
SETTLED = timedelta(minutes=15)
"""How long ago a payment's money must have moved last to be compared."""

DAYS = 30
"""How far back: longer than an authorisation lives, and than most refunds take to be asked for."""


@dataclass
class Comparison:
    """What was compared, and a sentence for each difference."""

    charges: int = 0
    payments: int = 0
    differences: list[str] = field(default_factory=list)


def compare(provider: Provider, since: datetime, until: datetime) -> Comparison:
    """The provider's charges since then with our payments. `until` is when money must have come to rest.

    Raises ProviderUnavailable. The provider is asked with no transaction open.
    """
    result, seen = Comparison(), set[UUID]()
    for charges in _batches(provider.report(since, until + SETTLED)):
        result.charges += len(charges)
        with store.transaction():
            for charge, payment in _ours(charges, provider.name):
                result.differences += _wrong_in(charge, payment, until, seen)
    with store.transaction():
        for payments in _batches(Payment.begun(provider.name, since, until)):
            result.payments += len(payments)
            sums = ledger.sums(payment.id for payment in payments)
            # What never had a charge need not be known there.
            missing = [p for p in payments if p.id not in seen and sums[p.id] != Sums() and not _moves(p, until)]
            result.differences += [f"payment {p.id}: {_said(sums[p.id])} here, no charge there" for p in missing]
    return result


def _ours(charges: Sequence[Reported], provider: str) -> Iterator[tuple[Reported, Payment | None]]:
    found = Payment.among([charge.payment_id for charge in charges if charge.payment_id], provider)
    for charge in charges:
        yield charge, found.get(charge.payment_id) if charge.payment_id else None


def _wrong_in(charge: Reported, payment: Payment | None, until: datetime, seen: set[UUID]) -> Iterator[str]:
    there = Sums(held=charge.held, captured=charge.captured, refunded=charge.refunded)
    if payment is None:
        if there != Sums():
            yield f"charge {charge.reference}: {_said(there)} there, no payment here"
        return
    if payment.id in seen and there != Sums():
        yield f"payment {payment.id}: charged once more there, as {charge.reference}: {_said(there)}"
    is_first, booked = payment.id not in seen, payment.sums
    seen.add(payment.id)
    here = Sums(held=booked.held, captured=booked.captured, refunded=booked.refunded)
    differs = here != there or (here != Sums() and charge.currency != payment.currency)
    if is_first and differs and not _moves(payment, until):
        said = (_said(here, payment.currency), _said(there, charge.currency))
        yield f"payment {payment.id}: {said[0]} here, {said[1]} there ({charge.reference})"


def _moves(payment: Payment, until: datetime) -> bool:
    return max(payment.updated_at, ledger.moved_at(payment.id) or payment.updated_at) > until


def _said(sums: Sums, currency: str = "") -> str:
    return f"held {sums.held}, captured {sums.captured}, refunded {sums.refunded} {currency}".rstrip()


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
