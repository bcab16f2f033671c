"""Facets of a list or search."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from chassis.web.schemas import View
from services.products.search.filters import Filters
from services.products.search.finder import MAX_COUNTED, PRICE_STEPS, Count, Finder
from services.products.search.query import TextQuery

K = TypeVar("K")

MAX_CATEGORIES = 50


class CategoryCount(View):
    category: str
    products: int


class PriceRange(View):
    """`max_price` is excluded."""

    min_price: Decimal
    max_price: Decimal | None
    products: int


class StockCount(View):
    in_stock: int
    out_of_stock: int


class Facets(View):
    """Products per choice, counted without the facet's own filter."""

    categories: list[CategoryCount]
    """Largest first."""
    prices: list[PriceRange]
    stock: StockCount
    is_complete: bool
    """If false, not all matches are counted; the numbers show proportions."""


def facets_of(finder: Finder, query: TextQuery | None, filters: Filters) -> Facets:
    counted: dict[Filters, list[Count]] = {}

    def without(**own: Any) -> list[Count]:
        others = replace(filters, **own)
        if others not in counted:
            counted[others] = finder.counts(query, others)
        return counted[others]

    categories = _sums((each.category, each.products) for each in without(category=None))
    prices = _sums((each.price_step, each.products) for each in without(min_price=None, max_price=None))
    stock = _sums((each.is_in_stock, each.products) for each in without(in_stock=None))
    largest_first = sorted(categories.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_CATEGORIES]
    ranges = zip(PRICE_STEPS, [*PRICE_STEPS[1:], None], strict=True)
    return Facets(
        categories=[CategoryCount(category=name, products=products) for name, products in largest_first],
        prices=[PriceRange(min_price=low, max_price=high, products=prices[low]) for low, high in ranges if prices[low]],
        stock=StockCount(in_stock=stock[True], out_of_stock=stock[False]),
        is_complete=all(sum(each.products for each in counts) < MAX_COUNTED for counts in counted.values()),
    )


def _sums(counts: Iterable[tuple[K, int]]) -> "Counter[K]":
    sums: Counter[K] = Counter()
    for key, products in counts:
        sums[key] += products
    return sums
