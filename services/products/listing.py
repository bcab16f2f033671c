"""The catalogue by pages and by category: what customers may see, never more than a page of it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from chassis import paging
from chassis.paging import Page
from services.products.models import Product
from services.products.models.product import INTERNAL

Sort = Literal["newest", "name"]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


_SORTS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "newest": ("-", "created_at", _moment),
    "name": ("", "name", str),
}
"""Direction, field, and how a cursor's text is the field's value again."""


def products(page: Page, sort: Sort, category: str | None) -> tuple[list[Product], str | None]:
    """One page of the products on sale, and the cursor of the next. Raises Invalid for a cursor of another list."""
    sign, field, _ = _SORTS[sort]
    condition: dict[str, Any] = {"is_active": True}
    if category is not None:
        condition["category"] = category
    if page.cursor is not None:
        condition |= _behind(page.cursor, sort)
    found = Product.objects(__raw__=condition).exclude(*INTERNAL)
    rows = list(found.order_by(f"{sign}{field}", f"{sign}id").limit(page.limit + 1))
    if len(rows) <= page.limit:
        return rows, None
    last = rows[page.limit - 1]
    value = getattr(last, field)
    text = value.isoformat() if isinstance(value, datetime) else value
    return rows[: page.limit], paging.encode(sort, text, last.id)


def _behind(cursor: str, sort: Sort) -> dict[str, Any]:
    """The condition that leaves only what comes after the cursor's row."""
    sign, field, parse = _SORTS[sort]
    order, text, last_id = paging.decode(cursor, 3)
    try:
        value, last_id = parse(text), str(UUID(last_id))
    except (ValueError, OverflowError):
        raise paging.invalid_cursor() from None
    if order != sort:
        raise paging.invalid_cursor()
    operator = "$lt" if sign else "$gt"
    # The first clause repeats what the second implies: it alone lets an index start at the cursor.
    return {field: {f"{operator}e": value}, "$or": [{field: {operator: value}}, {"_id": {operator: last_id}}]}


def categories(page: Page) -> tuple[list[tuple[str, int]], str | None]:
    """One page of the categories with something on sale, by name, each with how many products that is."""
    condition: dict[str, Any] = {"is_active": True}
    if page.cursor is not None:
        condition["category"] = {"$gt": paging.decode(page.cursor, 1)[0]}
    stages = [
        {"$match": condition},
        {"$group": {"_id": "$category", "products": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
        {"$limit": page.limit + 1},
    ]
    counted = [(row["_id"], row["products"]) for row in Product.objects.aggregate(stages)]
    if len(counted) <= page.limit:
        return counted, None
    return counted[: page.limit], paging.encode(counted[page.limit - 1][0])
