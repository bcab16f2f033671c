"""What operators run, in the environment of the payments service: `python -m services.payments.commands reconcile`."""

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta

from chassis.base import clock
from chassis.storage import store
from services.payments import providers
from services.payments.app import service
from services.payments.providers import ProviderUnavailable
from services.payments.reconcile import DAYS, compare


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m services.payments.commands")
    commands = parser.add_subparsers(required=True)
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


if __name__ == "__main__":
    main()
