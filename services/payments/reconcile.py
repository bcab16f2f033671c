"""Our books beside the provider's: `python -m services.payments.reconcile` lists where they differ, and repairs nothing.

Money that moved in the last minutes may be booked here and not yet there, or the other way round: it is left for the next time.
Exits with 1 when something differs, with 2 when the provider does not tell.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar
from uuid import UUID

from chassis.storage import postgres, store
from services.payments import providers
from services.payments.models import Payment, ledger
from services.payments.models.ledger import Sums
from services.payments.providers import Provider, ProviderUnavailable
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


def main(arguments: Sequence[str] | None = None) -> None:
    from services.payments.app import service

    parser = argparse.ArgumentParser(prog="python -m services.payments.reconcile", description=__doc__)
    parser.add_argument("--provider", choices=["sandbox", "stripe"], help="other than the one of new payments")
    parser.add_argument("--days", type=int, default=DAYS, choices=range(1, 366), metavar="1..365")
    parser.add_argument("--minutes", type=int, default=15, choices=range(61), metavar="0..60", help="how long at rest")
    wanted = parser.parse_args(arguments)
    service.needs()
    name = wanted.provider or providers.default()
    until = postgres.now() - timedelta(minutes=wanted.minutes)
    try:
        with store.active(service.store):
            result = compare(providers.named(name), until - timedelta(days=wanted.days), until)
    except KeyError:
        parser.error(f"there is no key for {name} in this environment")
    except ProviderUnavailable as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    print(*result.differences, sep="\n", end="\n" if result.differences else "")
    count = len(result.differences)
    older = f"{result.payments} payments here that are older than {wanted.minutes} minutes"
    print(f"{name}: {result.charges} charges there, {older}, {count} differences.")
    raise SystemExit(1 if count else 0)


if __name__ == "__main__":
    main()
