"""`python -m services.products.audit`: proves from the ledger that no piece was lost or doubled. Prints what differs; repairs nothing.

Of each product: its movements have no gap, each starts where the one before it ended, the last ends at what the product
says, and pieces received = on hand + held + sold. Of each order: what the ledger says is held for and sold to it is what
it was promised. May run while orders are handled: who is being handled is looked at again until it is settled.
"""

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from pymongo.errors import ConnectionFailure

from chassis.storage import store
from services.products.app import service
from services.products.models import Entry, Product, Reservation, ledger
from services.products.models.movement import RECEIVED
from services.products.models.reservation import COMMITTED, RESERVED

T = TypeVar("T")

BATCH = 200
PATIENCE_SECONDS = 20.0
"""How long an order may take to be settled; what differs for longer is a difference."""
PAUSE_SECONDS = 0.5


@dataclass
class Audit:
    """What was counted, and a sentence for each difference."""

    counted: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


def audit(patience_seconds: float = PATIENCE_SECONDS) -> Audit:
    found = Audit()
    for products in _batches(Product.stock_of().order_by("id").no_cache()):
        entries = _entries(products)
        for product in products:
            wrong = list(wrong_in(product, entries[product.id]))
            found.differences += [f"{product.sku} ({product.id}): {sentence}" for sentence in wrong]
            _count(found.counted, product)
    for reservations in _batches(Reservation.objects.order_by("order_id").no_cache()):
        found.counted["orders"] += len(reservations)
        found.differences += _lasting(reservations, patience_seconds)
    return found


def wrong_in(product: Product, entries: Sequence[Entry]) -> Iterator[str]:
    """What is wrong with the product's movements, given in their order."""
    numbers = [entry.number for entry in entries]
    if numbers != list(range(1, product.movement_count + 1)):
        missing = sorted({*range(1, product.movement_count + 1)} - {*numbers})
        yield f"of {product.movement_count} movements, the ledger lacks {missing[:10]}"
    stands = (0, 0, 0)
    received = 0
    for entry in entries:
        moved = (entry.on_hand, entry.held, entry.sold)
        ends = (entry.on_hand_after, entry.held_after, entry.sold_after)
        if ends != tuple(before + change for before, change in zip(stands, moved, strict=True)):
            yield f"movement {entry.number} ({entry.kind}) goes from {stands} by {moved} to {ends}"
        stands = ends
        received += sum(moved) if entry.kind in RECEIVED else 0
    says = (product.stock_quantity, product.held_quantity, product.sold_quantity)
    if stands != says or min(says) < 0:
        yield f"the ledger ends at (on hand, held, sold) = {stands}, the product says {says}"
    if received != sum(says):
        yield f"{received} were received, {sum(says)} are on hand, held or sold"


def _count(counted: Counter[str], product: Product) -> None:
    counted["products"] += 1
    counted["movements"] += product.movement_count
    counted["received"] += product.received_quantity
    counted["on hand"] += product.stock_quantity
    counted["held"] += product.held_quantity
    counted["sold"] += product.sold_quantity


def _entries(products: Iterable[Product]) -> dict[str, list[Entry]]:
    """The entries of each product by its id, in order: those waiting when it was read, then those in the ledger."""
    # What has left the product meanwhile is in the ledger by now, under the same id.
    known = {entry.id: entry for product in products for entry in ledger.waiting(product)}
    counts = {product.id: product.movement_count for product in products}
    for entry in Entry.objects(product_id__in=list(counts)).exclude("unsent"):
        if entry.number <= counts[entry.product_id]:
            known[entry.id] = entry
    grouped = defaultdict(list)
    for entry in sorted(known.values(), key=lambda entry: entry.number):
        grouped[entry.product_id].append(entry)
    return grouped


def _lasting(reservations: Sequence[Reservation], patience_seconds: float) -> list[str]:
    """What differs about these orders and does not settle."""
    until = time.monotonic() + patience_seconds
    differences = _differing(reservations)
    while differences and time.monotonic() < until:
        time.sleep(PAUSE_SECONDS)
        differences = _differing(Reservation.objects(order_id__in=list(differences)))
    return [sentence for sentences in differences.values() for sentence in sentences]


def _differing(reservations: Iterable[Reservation]) -> dict[str, list[str]]:
    """Sentences by order id: where what its movements come to is not what its reservation says."""
    moved = _moved(list(reservations))
    differing = defaultdict(list)
    for reservation in reservations:
        for line in reservation.lines:
            held, sold = moved[reservation.order_id, line.product_id]
            promised = line.quantity if reservation.state == RESERVED else 0
            bought = line.quantity if reservation.state == COMMITTED else 0
            if (held, sold) != (promised, bought):
                differing[reservation.order_id].append(
                    f"Order {reservation.order_id} ({reservation.state}): of {line.product_id}, {held} are held and "
                    f"{sold} sold, not {promised} and {bought}"
                )
    return differing


def _moved(reservations: Sequence[Reservation]) -> dict[tuple[str, str], tuple[int, int]]:
    """Pieces held and sold by order and product, as the orders' movements say."""
    product_ids = {line.product_id for reservation in reservations for line in reservation.lines}
    orders = {reservation.order_id for reservation in reservations}
    waiting = (entry for product in Product.stock_of(id__in=list(product_ids)) for entry in ledger.waiting(product))
    known = {entry.id: entry for entry in waiting if entry.reference in orders}
    known |= {entry.id: entry for entry in Entry.objects(reference__in=list(orders)).exclude("unsent")}
    moved: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for entry in known.values():
        held, sold = moved[entry.reference, entry.product_id]
        moved[entry.reference, entry.product_id] = (held + entry.held, sold + entry.sold)
    return moved


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    # A generator, as MongoEngine's iterators begin anew whenever they are asked for an iterator.
    iterator = (row for row in rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def main() -> None:
    service.needs()
    try:
        with store.active(service.store):
            found = audit()
    except ConnectionFailure as error:
        sys.exit(f"MongoDB does not answer: {error}")
    for sentence in found.differences:
        print(sentence)
    print(summary(found.counted))
    print("Balanced." if not found.differences else f"{len(found.differences)} differences; nothing was changed.")
    sys.exit(1 if found.differences else 0)


def summary(counted: Counter[str] | dict[str, Any]) -> str:
    """One line with the sums that must agree."""
    return (
        f"{counted['products']:,} products, {counted['orders']:,} orders, {counted['movements']:,} movements: received "
        f"{counted['received']:,} = on hand {counted['on hand']:,} + held {counted['held']:,} + sold {counted['sold']:,}"
    )


if __name__ == "__main__":
    main()
