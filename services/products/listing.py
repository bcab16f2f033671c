"""The catalogue by pages: which products, in what order, and where the next page starts."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from uuid import UUID

from chassis.web import pagination
from chassis.web.pagination import Page
from services.products.finding.finder import FIELDS, Filters, Finder, Order, Place, Value
from services.products.models import Product
from services.products.models.product import INTERNAL

MAX = 2**53
"""Beyond this no number of ours is: neither a price in minor units, nor pieces sold, nor a score."""


def page(finder: Finder, page: Page, filters: Filters, order: Order) -> tuple[list[Product], str | None]:
    """One page of a list, and the cursor of the next. Raises Invalid for a cursor of another list."""
    after = None
    if page.cursor is not None:
        after = place(pagination.decode(page.cursor, 3), order)
    places = finder.browse(filters, order, after, page.limit + 1)
    following = pagination.encode(*cursor(order, places[page.limit - 1])) if len(places) > page.limit else None
    return as_they_are([each.product_id for each in places[: page.limit]], filters), following


def as_they_are(product_ids: Sequence[str], filters: Filters) -> list[Product]:
    """The products in this order, as the database has them now; what the filters do not let pass any more is left out."""
    found = {product.id: product for product in Product.objects(id__in=product_ids).exclude(*INTERNAL)}
    products = [found[product_id] for product_id in product_ids if product_id in found]
    return [product for product in products if filters.let_pass(product)]


def cursor(order: str, last: Place) -> tuple[str, str, str]:
    """The texts that say where the next page starts."""
    value = last.value.isoformat() if isinstance(last.value, datetime) else str(last.value)
    return order, value, last.product_id


def place(texts: Sequence[str], expected: str) -> Place:
    """The place that `cursor` wrote down. Raises Invalid when it is not one of the expected order."""
    order, value, product_id = texts
    try:
        if order == expected:
            return Place(_value(order, value), str(UUID(product_id)))
    except (ValueError, OverflowError, InvalidOperation):
        pass
    raise pagination.invalid_cursor()


def _value(order: str, text: str) -> Value:
    match FIELDS[order][0] if order in FIELDS else "score":
        case "created_at":
            return datetime.fromisoformat(text).astimezone(UTC)
        case "name":
            return text
        case "price":
            price = Decimal(text).quantize(Decimal("0.01"))
            return price if 0 <= price <= MAX else _too_large(text)
    number = int(text)
    return number if 0 <= number <= MAX else _too_large(text)


def _too_large(text: str) -> Value:
    raise ValueError(f"{text[:20]} is nothing of ours.")
