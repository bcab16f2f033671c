"""Many products at once: each row is added, changes what has its SKU, or is reported. A row is taken whole or not at all."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pymongo.errors import BulkWriteError

from chassis.base.problems import Problem
from services.products.models import Product
from services.products.models.product import INTERNAL, SHELVES
from services.products.rows import Row
from services.products.schemas import NewProduct

BATCH = 200
DUPLICATE = 11000

ADDED, CHANGED, UNCHANGED, REFUSED = "added", "changed", "unchanged", "refused"
STOCK_LEFT = "stock_left"
"""Rows of known products that name another stock than is on hand. Pieces come and go by counts and orders, never by an import."""


@dataclass
class Report:
    """How many rows came to what, and the rows that were refused."""

    counts: "Counter[str]" = field(default_factory=Counter)
    refused: list[Row] = field(default_factory=list)
    product_ids: list[UUID] = field(default_factory=list)
    """Those that were added or changed."""


def id_of(sku: str) -> UUID:
    """The id of a product that a file brings: from its SKU, so that even two imports at once add it once."""
    return uuid5(NAMESPACE_URL, f"souk:product:{sku}")


def take(rows: Iterable[Row]) -> Report:
    """Take the rows in, later ones over earlier ones of the same SKU."""
    report = Report()
    fresh: dict[str, Row] = {}
    for row in rows:
        if row.product is None:
            _refuse(report, row)
        elif row.sku in fresh:
            # What the earlier row adds must be there when this one changes it.
            _add(fresh, report)
            fresh = {row.sku: row}
        else:
            fresh[row.sku] = row
    _add(fresh, report)
    return report


def _add(rows: dict[str, Row], report: Report) -> None:
    """Add what is new with one request, and see to each of the others."""
    if not rows:
        return
    listed = list(rows.values())
    products = [Product.new(id_of(row.sku), **_fields(row.product)) for row in listed if row.product]
    known: set[int] = set()
    try:
        Product._get_collection().insert_many([product.to_mongo() for product in products], ordered=False)
    except BulkWriteError as error:
        if any(wrong["code"] != DUPLICATE for wrong in error.details["writeErrors"]):
            raise
        known = {wrong["index"] for wrong in error.details["writeErrors"]}
    added = [UUID(product.id) for index, product in enumerate(products) if index not in known]
    report.counts[ADDED] += len(added)
    report.product_ids += added
    for index in sorted(known):
        _change(listed[index], report)


def _change(row: Row, report: Report) -> None:
    assert row.product is not None
    try:
        outcome, product_id = _put(row.product, report)
    except Problem as problem:
        _refuse(report, Row(row.line, None, row.sku, "sku", problem.detail))
        return
    report.counts[outcome] += 1
    if outcome != UNCHANGED:
        report.product_ids.append(product_id)


def _put(wanted: NewProduct, report: Report) -> tuple[str, UUID]:
    fields = _fields(wanted)
    known = Product.objects(sku=wanted.sku).exclude(*INTERNAL).first()
    if known is None:
        # The id that follows from its SKU is that of a product that bears another SKU by now.
        return ADDED, UUID(Product.create(uuid4(), request_hash="", **fields).id)
    if "stock_quantity" in wanted.model_fields_set and wanted.stock_quantity != known.stock_quantity:
        report.counts[STOCK_LEFT] += 1
    unless_given = {"stock_quantity", *({"is_active"} - wanted.model_fields_set)}
    changes = {name: value for name, value in fields.items() if name not in unless_given}
    if all(getattr(known, name) == value for name, value in changes.items()):
        return UNCHANGED, UUID(known.id)
    Product.change(UUID(known.id), None, **changes)
    return CHANGED, UUID(known.id)


def _fields(product: NewProduct | None) -> dict[str, Any]:
    assert product is not None
    return product.model_dump()


def _refuse(report: Report, row: Row) -> None:
    report.counts[REFUSED] += 1
    report.refused.append(row)


def everything() -> Iterator[Product]:
    """The whole catalogue, shelf by shelf, what is off sale too."""
    for shelf in range(SHELVES):
        yield from Product.objects(shelf=shelf).exclude(*INTERNAL).order_by("id").no_cache()
