"""What operators run, in the environment of the payments service: `python -m services.payments.commands reconcile|ledger`."""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select

from chassis.base import clock
from chassis.storage import postgres, store
from contracts import money
from services.payments import providers
from services.payments.app import service
from services.payments.models import Payment, ledger
from services.payments.providers import ProviderUnavailable
from services.payments.reconcile import DAYS, compare


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.payments.commands")
    commands = parser.add_subparsers(dest="command", required=True)
    entries = commands.add_parser("ledger", help="print the movements of an order's money as JSON lines")
    entries.add_argument("order", type=UUID)
    reconcile = commands.add_parser(
        "reconcile",
        help="compare the ledger with the provider's report",
        description="Repairs nothing. Exit code 1: something differs; 2: the provider is unavailable.",
    )
    reconcile.add_argument("--provider", choices=["sandbox", "stripe"], help="default: the provider of new payments")
    reconcile.add_argument(
        "--days", type=int, default=DAYS, choices=range(1, 366), metavar="1..365", help="how far back"
    )
    reconcile.add_argument(
        "--minutes",
        type=int,
        default=15,
        choices=range(61),
        metavar="0..60",
        help="skip payments whose money moved in the last ... minutes",
    )
    given = parser.parse_args(arguments)
    service.require_settings()
    if given.command == "ledger":
        with store.active(service.store), store.transaction():
            print_ledger(given.order)
        return
    name = given.provider or providers.default()
    until = clock.now() - timedelta(minutes=given.minutes)
    try:
        with store.active(service.store):
            result = compare(providers.named(name), until - timedelta(days=given.days), until)
    except KeyError:
        parser.error(f"{name} has no key in this environment")
    except ProviderUnavailable as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    for difference in result.differences:
        print(difference)
    count = len(result.differences)
    print(f"{name}: {result.charges} charges there, {result.payments} payments here, {count} differences.")
    raise SystemExit(1 if count else 0)


def print_ledger(order_id: UUID) -> None:
    """Nothing if nothing moved."""
    paid = postgres.session().scalars(select(Payment.id).where(Payment.order_id == order_id))
    for entry in (entry for payment_id in paid for entry in ledger.entries(payment_id)):
        about = {"timestamp": entry.occurred_at.isoformat(), "event": f"money {entry.move}", "order_id": str(order_id)}
        moved = {"from": entry.source, "to": entry.target, "amount": money.text(entry.amount, entry.currency)}
        print(json.dumps({**about, **moved}))


if __name__ == "__main__":
    main()
