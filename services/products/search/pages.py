"""Result pages and their cursors."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, cast
from uuid import UUID

from chassis.web import pagination
from chassis.web.pagination import Page
from services.products.models import Product
from services.products.models.product import INTERNAL
from services.products.search.filters import FIELDS, Filters, Order, Place, SearchOrder, Value
from services.products.search.finder import Finder, Match
from services.products.search.query import TextQuery, parse
from services.products.search.ranking import score

RELEVANCE = "relevance"

MAX_VALUE = 2**53
"""Above any price in minor units, quantity or score."""


@dataclass(frozen=True)
class Results:
    products: list[Product]
    next: str | None
    query: TextQuery | None


def list_page(finder: Finder, page: Page, filters: Filters, order: Order) -> tuple[list[Product], str | None]:
    """Raises Invalid for another list's cursor."""
    after = None
    if page.cursor is not None:
        after = _place(pagination.decode(page.cursor, 3), order)
    places = finder.browse(filters, order, after, page.limit + 1)
    next_ = pagination.encode(*_cursor(order, places[page.limit - 1])) if len(places) > page.limit else None
    return current([each.product_id for each in places[: page.limit]], filters), next_


def search_page(finder: Finder, text: str, page: Page, filters: Filters, order: SearchOrder) -> Results:
    """A list without text. Raises Invalid for another search's cursor."""
    if not text:
        return Results(*list_page(finder, page, filters, cast(Order, order)), query=None)
    query, after = _resumed(page.cursor, order) if page.cursor else (parse(text, finder), None)
    _, descends = FIELDS.get(order, ("", True))
    places = sorted(
        (place for match in finder.matches(query, filters, order) if (place := _place_of(match, query, order))),
        key=_key,
        reverse=descends,
    )
    if after is not None:
        seen = _key(after)
        places = [each for each in places if (_key(each) < seen if descends else _key(each) > seen)]
    next_ = None
    if len(places) > page.limit:
        next_ = pagination.encode(*_cursor(order, places[page.limit - 1]), query.to_text())
    return Results(current([each.product_id for each in places[: page.limit]], filters), next_, query)


def current(product_ids: Sequence[str], filters: Filters) -> list[Product]:
    """From the database, in this order, without those that no longer match."""
    found = {product.id: product for product in Product.objects(id__in=product_ids).exclude(*INTERNAL)}
    products = [found[product_id] for product_id in product_ids if product_id in found]
    return [product for product in products if filters.match(product)]


def _key(place: Place) -> tuple[Any, str]:
    return place.value, place.product_id


def _place_of(match: Match, query: TextQuery, order: str) -> Place | None:
    worth = score(query, match.texts)
    if not worth:
        return None
    return Place(worth, match.place.product_id) if order == RELEVANCE else match.place


def _resumed(cursor: str, order: str) -> tuple[TextQuery, Place]:
    *place, query = pagination.decode(cursor, 4)
    try:
        return TextQuery.from_text(query), _place(place, order)
    except ValueError:
        raise pagination.invalid_cursor() from None


def _cursor(order: str, last: Place) -> tuple[str, str, str]:
    value = last.value.isoformat() if isinstance(last.value, datetime) else str(last.value)
    return order, value, last.product_id


def _place(texts: Sequence[str], expected: str) -> Place:
    """Raises Invalid."""
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
            return _bounded(Decimal(text).quantize(Decimal("0.01")))
    return _bounded(int(text))


def _bounded(number: int | Decimal) -> int | Decimal:
    if 0 <= number <= MAX_VALUE:
        return number
    raise ValueError("out of range")
