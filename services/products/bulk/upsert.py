"""Upsert rows into the catalogue by SKU."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pymongo.errors import BulkWriteError

from chassis.base.problems import Invalid, Problem
from services.products.bulk.rows import Row
from services.products.models import Product
from services.products.models.product import INTERNAL, SHELVES, sku_key
from services.products.schemas import NewProduct

BATCH = 200
DUPLICATE_KEY = 11000

ADDED, UPDATED, UNCHANGED, REFUSED = "added", "updated", "unchanged", "refused"
STOCK_IGNORED = "stock_ignored"
"""Only counts and orders change stock."""


@dataclass
class Report:
    counts: "Counter[str]" = field(default_factory=Counter)
    refused: list[Row] = field(default_factory=list)
    product_ids: list[UUID] = field(default_factory=list)

    def refuse(self, row: Row) -> None:
        self.counts[REFUSED] += 1
        self.refused.append(row)


def upsert(rows: Iterable[Row]) -> Report:
    """Later rows override earlier ones of the same SKU."""
    report = Report()
    pending: dict[str, Row] = {}
    for row in rows:
        if row.product is None:
            report.refuse(row)
        else:
            if (key := sku_key(row.sku)) in pending:
                # The earlier row's product must exist first.
                _write(pending, report)
                pending = {}
            pending[key] = row
    _write(pending, report)
    return report


def add_missing(rows: Iterable[Row]) -> int:
    """Number of products added; existing SKUs are unchanged.

    Raises Invalid, adding none, if a row is refused.
    """
    products = []
    for row in rows:
        if row.product is None:
            raise Invalid(f"Line {row.line}: {row.field} {row.reason}")
        products.append(row.product)
    return len(products) - len(_insert(products)[1])


def _insert(products: Sequence[NewProduct]) -> tuple[list[UUID], list[int]]:
    if not products:
        return [], []
    documents = [Product.new(_id_of(product.sku), **product.model_dump()) for product in products]
    existing: set[int] = set()
    try:
        Product._get_collection().insert_many([document.to_mongo() for document in documents], ordered=False)
    except BulkWriteError as error:
        if any(each["code"] != DUPLICATE_KEY for each in error.details["writeErrors"]):
            raise
        existing = {each["index"] for each in error.details["writeErrors"]}
    return [UUID(each.id) for index, each in enumerate(documents) if index not in existing], sorted(existing)


def _id_of(sku: str) -> UUID:
    """Derived from the SKU so that concurrent imports add it once."""
    return uuid5(NAMESPACE_URL, f"souk:product:{sku}")


def _write(rows: dict[str, Row], report: Report) -> None:
    listed = list(rows.values())
    added, existing = _insert([row.product for row in listed if row.product])
    report.counts[ADDED] += len(added)
    report.product_ids += added
    for index in existing:
        _update(listed[index], report)


def _update(row: Row, report: Report) -> None:
    assert row.product is not None
    try:
        outcome, product_id = _put(row.product, report)
    except Problem as problem:
        report.refuse(Row(row.line, row.last_line, None, row.sku, "sku", problem.detail))
        return
    report.counts[outcome] += 1
    if outcome != UNCHANGED:
        report.product_ids.append(product_id)


def _put(wanted: NewProduct, report: Report) -> tuple[str, UUID]:
    fields: dict[str, Any] = wanted.model_dump()
    product = Product.objects(sku_key=sku_key(wanted.sku)).exclude(*INTERNAL).first()
    if product is None:
        # The derived id belongs to a product whose SKU was changed.
        return ADDED, UUID(Product.create(uuid4(), request_hash="", **fields).id)
    if "stock_quantity" in wanted.model_fields_set and wanted.stock_quantity != product.stock_quantity:
        report.counts[STOCK_IGNORED] += 1
    kept = {"stock_quantity", *({"is_active"} - wanted.model_fields_set)}
    changes = {name: value for name, value in fields.items() if name not in kept}
    if all(getattr(product, name) == value for name, value in changes.items()):
        return UNCHANGED, UUID(product.id)
    Product.change(UUID(product.id), None, **changes)
    return UPDATED, UUID(product.id)


def all_products() -> Iterator[Product]:
    """Shelf by shelf, including those off sale."""
    for shelf in range(SHELVES):
        yield from Product.objects(shelf=shelf).exclude(*INTERNAL).order_by("id").no_cache()
