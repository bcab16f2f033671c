"""What operators run, in the environment of the products service.

`python -m services.products.commands seed` creates the indexes and adds the products of catalogue.jsonl that are missing.
`... import FILE` and `... export FILE` bring the catalogue from and to a .csv or .jsonl file; progress is printed as a JSON
object a line. `... audit` proves the stock from its ledger; `... movements ORDER` prints those of an order.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from pymongo.errors import ConnectionFailure

import services.products
from chassis.base import telemetry
from chassis.base.problems import Invalid
from chassis.storage import store
from services.products import audit
from services.products.app import service
from services.products.bulk import files
from services.products.bulk.upsert import REFUSED
from services.products.models import Entry, Product


def main(arguments: Sequence[str] | None = None) -> None:
    """Exits with 1 when the command failed or found something wrong."""
    parser = argparse.ArgumentParser(prog="python -m services.products.commands")
    commands = parser.add_subparsers(required=True)
    commands.add_parser("seed", help="create the indexes and add missing products").set_defaults(run=lambda _: seed())
    for verb, run, summary in (
        ("import", import_, "add or update products from a file; run again, an interrupted import continues"),
        ("export", export, "write all products to a file"),
    ):
        command = commands.add_parser(verb, help=summary)
        command.add_argument("file", type=Path, help="a .csv or .jsonl file")
        command.set_defaults(run=lambda given, run=run: run(given.file))
    audited = commands.add_parser("audit", help="prove the stock from its ledger; print what differs, repair nothing")
    audited.set_defaults(run=lambda _: audit_stock())
    moved = commands.add_parser("movements", help="print the stock movements of an order as JSON lines")
    moved.add_argument("order", type=UUID)
    moved.set_defaults(run=lambda given: print_movements(given.order))
    given = parser.parse_args(arguments)
    service.require_settings()
    try:
        with store.active(service.store):
            is_well = given.run(given)
    except Invalid as problem:
        sys.exit(problem.detail)
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    except ConnectionFailure as error:
        sys.exit(f"MongoDB is unavailable; run the command again, an import continues where it stopped. {error}"[:300])
    sys.exit(0 if is_well else 1)


def seed() -> bool:
    service.store.migrate(services.products)
    added = files.seed()
    print(f"{added} products added, {Product.objects.count()} in the catalogue.")
    return True


def import_(path: Path) -> bool:
    """False when a row was refused."""
    telemetry.configure_logging(service.name, "critical")
    counts = files.import_file(path, _print_progress)
    return not counts.get(REFUSED)


def export(path: Path) -> bool:
    telemetry.configure_logging(service.name, "critical")
    _print_progress(exported=files.export_file(path, _print_progress))
    return True


def audit_stock() -> bool:
    """False when something differs."""
    result = audit.audit()
    for sentence in result.differences:
        print(sentence)
    print(audit.summary(result.counts))
    print("Balanced." if not result.differences else f"{len(result.differences)} differences; nothing was changed.")
    return not result.differences


def print_movements(order_id: UUID) -> bool:
    for entry in Entry.objects(reference=str(order_id)).order_by("at"):
        about = {"timestamp": entry.at.isoformat(), "event": f"stock {entry.kind}", "order_id": str(order_id)}
        change = {name: getattr(entry, name) for name in ("on_hand", "held", "sold") if getattr(entry, name)}
        print(json.dumps({**about, "product_id": entry.product_id, **change}))
    return True


def _print_progress(**numbers: int) -> None:
    print(json.dumps(numbers), flush=True)


if __name__ == "__main__":
    main()
