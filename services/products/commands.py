"""`python -m services.products.commands seed | import FILE | export FILE | audit`: what operators run."""

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pymongo.errors import ConnectionFailure

import services.products
from chassis.base import telemetry
from chassis.base.problems import Invalid
from chassis.storage import store
from services.products import audit
from services.products.app import service
from services.products.bulk import files
from services.products.bulk.upsert import REFUSED
from services.products.models import Product

USAGE = "usage: python -m services.products.commands seed | import FILE | export FILE | audit (FILE: .csv or .jsonl)"


def seed() -> bool:
    """Create the indexes, and add the products of catalogue.jsonl that are missing."""
    service.store.migrate(services.products)
    added = files.seed()
    print(f"{added} products added, {Product.objects.count()} in the catalogue.")
    return True


def import_(path: Path) -> bool:
    """False when a row was refused. Progress is printed as a JSON object a line."""
    telemetry.configure_logging(service.name, "critical")
    try:
        counts = files.import_file(path, _print_progress)
    except ConnectionFailure:
        print("The import stopped; run it again to continue.", file=sys.stderr)
        raise
    return not counts.get(REFUSED)


def export(path: Path) -> bool:
    """Progress is printed as a JSON object a line."""
    telemetry.configure_logging(service.name, "critical")
    _print_progress(exported=files.export_file(path, _print_progress))
    return True


def audit_stock() -> bool:
    """Prove the stock from its ledger; print what differs, and repair nothing. False when something differs."""
    result = audit.audit()
    for sentence in result.differences:
        print(sentence)
    print(audit.summary(result.counts))
    print("Balanced." if not result.differences else f"{len(result.differences)} differences; nothing was changed.")
    return not result.differences


def _print_progress(**numbers: int) -> None:
    print(json.dumps(numbers), flush=True)


def _command(arguments: Sequence[str]) -> Callable[[], bool]:
    match arguments:
        case ["seed"]:
            return seed
        case ["import", file]:
            return partial(import_, Path(file))
        case ["export", file]:
            return partial(export, Path(file))
        case ["audit"]:
            return audit_stock
    sys.exit(USAGE)


def main(arguments: Sequence[str]) -> None:
    """Exits with 1 when the command failed or found something wrong, with a line on standard error."""
    command = _command(arguments)
    service.require_settings()
    try:
        with store.active(service.store):
            is_well = command()
    except Invalid as problem:
        sys.exit(problem.detail)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    except ConnectionFailure as error:
        sys.exit(f"MongoDB is unavailable: {error}"[:300])
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
