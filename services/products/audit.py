"""Checks the ledger: no unit of stock was lost or doubled.

Per product, movements are consecutive from the opening that `purge` left, end at the current stock, and received = on hand
+ held + sold. Per order, movements match the reservation. May run while orders are handled.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from services.products.models import Entry, Product, Reservation, ledger
from services.products.models.movement import RECEIVED
from services.products.models.product import Opening
from services.products.models.reservation import COMMITTED, RESERVED

T = TypeVar("T")

BATCH = 200
SETTLE_TIMEOUT_SECONDS = 20.0
PAUSE_SECONDS = 0.5


@dataclass
class Audit:
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


def audit(timeout_seconds: float = SETTLE_TIMEOUT_SECONDS) -> Audit:
    result = Audit()
    for products in _batches(Product.stock_of().order_by("id").no_cache()):
        entries = _entries(products)
        for product in products:
            wrong = _differences_of(product, entries[product.id])
            result.differences += [f"{product.sku} ({product.id}): {sentence}" for sentence in wrong]
            _count(result.counts, product)
    for reservations in _batches(Reservation.objects.order_by("order_id").no_cache()):
        result.counts["orders"] += len(reservations)
        result.differences += _lasting(reservations, timeout_seconds)
    return result


def _differences_of(product: Product, entries: Sequence[Entry]) -> Iterator[str]:
    numbers = [entry.number for entry in entries]
    opening = product.opening or Opening(number=0, on_hand=0, held=0, sold=0)
    expected = range(opening.number + 1, product.movement_count + 1)
    if numbers != list(expected):
        missing = sorted({*expected} - {*numbers})
        yield f"of {product.movement_count} movements, the ledger lacks {missing[:10]}"
    current = (opening.on_hand, opening.held, opening.sold)
    received = sum(current)
    for entry in entries:
        moved = (entry.on_hand, entry.held, entry.sold)
        after = (entry.on_hand_after, entry.held_after, entry.sold_after)
        if after != tuple(before + change for before, change in zip(current, moved, strict=True)):
            yield f"movement {entry.number} ({entry.kind}) goes from {current} by {moved} to {after}"
        current = after
        received += sum(moved) if entry.kind in RECEIVED else 0
    stock = (product.stock_quantity, product.held_quantity, product.sold_quantity)
    if current != stock or min(stock) < 0:
        yield f"the ledger ends at (on hand, held, sold) = {current}, the product has {stock}"
    if received != sum(stock):
        yield f"{received} were received, {sum(stock)} are on hand, held or sold"


def _count(counts: Counter[str], product: Product) -> None:
    counts["products"] += 1
    counts["movements"] += product.movement_count
    counts["received"] += product.received_quantity
    counts["on hand"] += product.stock_quantity
    counts["held"] += product.held_quantity
    counts["sold"] += product.sold_quantity


def _entries(products: Iterable[Product]) -> dict[str, list[Entry]]:
    """By product id, in order; includes those waiting when the product was read."""
    by_id = {entry.id: entry for product in products for entry in ledger.waiting(product)}
    numbers = {
        product.id: range(product.opening.number + 1 if product.opening else 1, product.movement_count + 1)
        for product in products
    }
    for entry in Entry.objects(product_id__in=list(numbers)).exclude("unsent"):
        if entry.number in numbers[entry.product_id]:
            by_id[entry.id] = entry
    grouped = defaultdict(list)
    for entry in sorted(by_id.values(), key=lambda entry: entry.number):
        grouped[entry.product_id].append(entry)
    return grouped


def _lasting(reservations: Sequence[Reservation], timeout_seconds: float) -> list[str]:
    deadline = time.monotonic() + timeout_seconds
    differences = _differing(reservations)
    while differences and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        differences = _differing(Reservation.objects(order_id__in=list(differences)))
    return [sentence for sentences in differences.values() for sentence in sentences]


def _differing(reservations: Iterable[Reservation]) -> dict[str, list[str]]:
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
    product_ids = {line.product_id for reservation in reservations for line in reservation.lines}
    orders = {reservation.order_id for reservation in reservations}
    waiting = (entry for product in Product.stock_of(id__in=list(product_ids)) for entry in ledger.waiting(product))
    by_id = {entry.id: entry for entry in waiting if entry.reference in orders}
    by_id |= {entry.id: entry for entry in Entry.objects(reference__in=list(orders)).exclude("unsent")}
    moved: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for entry in by_id.values():
        held, sold = moved[entry.reference, entry.product_id]
        moved[entry.reference, entry.product_id] = (held + entry.held, sold + entry.sold)
    return moved


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    # MongoEngine querysets restart whenever an iterator is taken.
    iterator = (row for row in rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def summary(counts: Counter[str] | dict[str, Any]) -> str:
    return (
        f"{counts['products']:,} products, {counts['orders']:,} orders, {counts['movements']:,} movements: received "
        f"{counts['received']:,} = on hand {counts['on hand']:,} + held {counts['held']:,} + sold {counts['sold']:,}"
    )
