"""Compares our ledger with the provider's report; repairs nothing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple, TypeVar
from uuid import UUID

from chassis.storage import store
from services.payments.models import Payment, ledger
from services.payments.models.ledger import Sums
from services.payments.providers import Provider
from services.payments.providers.interface import Reported

T = TypeVar("T")

BATCH = 500
SETTLED = timedelta(minutes=15)
"""More recent movements may be booked on one side only."""

DAYS = 30
"""Longer than authorisations last and most refunds take."""


class Amounts(NamedTuple):
    """What both sides know, in minor units."""

    held: int
    captured: int
    refunded: int
    disputed: int
    charged_back: int

    @classmethod
    def of(cls, sums: Sums) -> "Amounts":
        return cls(*(getattr(sums, name) for name in cls._fields))

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {amount}" for name, amount in self._asdict().items())


@dataclass
class Comparison:
    charges: int = 0
    payments: int = 0
    differences: list[str] = field(default_factory=list)
    payment_ids: set[UUID] = field(default_factory=set)


def compare(provider: Provider, since: datetime, until: datetime) -> Comparison:
    """Created since `since`, unchanged since `until`. Raises ProviderUnavailable. Call with no transaction open."""
    result, seen = Comparison(), set[UUID]()
    for charges in _batches(provider.report(since, until + SETTLED)):
        result.charges += len(charges)
        with store.transaction():
            for charge, payment in _with_payments(charges, provider.name):
                found = list(_differences_in(charge, payment, until, seen))
                result.differences += found
                result.payment_ids |= {payment.id} if payment is not None and found else set()
    with store.transaction():
        for payments in _batches(Payment.created(provider.name, since, until + SETTLED)):
            result.payments += len(payments)
            sums = ledger.sums(payment.id for payment in payments)
            missing = [p for p in payments if p.id not in seen and sums[p.id] != Sums() and not _is_moving(p, until)]
            result.differences += [f"payment {p.id}: {Amounts.of(sums[p.id])} here, no charge there" for p in missing]
    return result


def _with_payments(charges: Sequence[Reported], provider: str) -> Iterator[tuple[Reported, Payment | None]]:
    found = Payment.by_id([charge.payment_id for charge in charges if charge.payment_id], provider)
    for charge in charges:
        yield charge, found.get(charge.payment_id) if charge.payment_id else None


def _differences_in(charge: Reported, payment: Payment | None, until: datetime, seen: set[UUID]) -> Iterator[str]:
    there = Amounts(charge.held, charge.captured, *astuple(charge.gone))
    if payment is None:
        if any(there):
            yield f"charge {charge.reference}: {there} there, no payment here"
        return
    if payment.id in seen and any(there):
        yield f"payment {payment.id}: charged again there, as {charge.reference}: {there}"
    is_first, here = payment.id not in seen, Amounts.of(payment.sums)
    seen.add(payment.id)
    differs = here != there or (any(here) and charge.currency != payment.currency)
    if is_first and differs and not _is_moving(payment, until):
        yield (
            f"payment {payment.id}: {here} {payment.currency} here,"
            f" {there} {charge.currency} there ({charge.reference})"
        )


def _is_moving(payment: Payment, until: datetime) -> bool:
    return max(payment.updated_at, ledger.last_moved_at(payment.id) or payment.updated_at) > until


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch
