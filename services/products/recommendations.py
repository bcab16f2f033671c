"""Recommendations learned from confirmed orders, which are counted together, off an order's path.

Likeness is the cosine of two products' orders, shrunk while few orders have both. Best sellers fill in.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.products.models import Affinity, Basket, Product, Taste, affinity
from services.products.search.filters import Filters
from services.products.search.finder import Finder
from services.products.search.pages import current

BOUGHT_TOGETHER = "bought_together"
POPULAR_IN_CATEGORY = "popular_in_category"
POPULAR = "popular"

SHRINKAGE = 3.0
"""Common orders at which likeness counts half: one coincidence proves little."""

LATEST = 20

BATCH = 50
"""Orders counted together."""


@dataclass(frozen=True)
class Recommendation:
    product: Product
    because: str


def learn() -> bool:
    """Count up to BATCH orders; whether there may be more."""
    waiting = Basket.waiting(BATCH)
    counted = affinity.count({basket.order_id: basket.product_ids for basket in waiting}) if waiting else set()
    done = [basket for basket in waiting if basket.order_id in counted]
    if done:
        Taste.add(done)
        Basket.close(counted)
    return len(waiting) == BATCH and bool(done)


def for_product(finder: Finder, product_id: str, category: str, limit: int) -> list[Recommendation]:
    """Best first."""
    return _chosen(finder, _alike([product_id]), [category], {product_id}, limit)


def for_customer(finder: Finder, user_id: UUID, limit: int) -> list[Recommendation]:
    bought = Taste.bought_by(user_id)
    latest = bought[:LATEST]
    categories = Counter(product.category for product in Product.objects(id__in=latest).only("category"))
    favourites = [category for category, _ in categories.most_common(3)]
    return _chosen(finder, _alike(latest), favourites, set(bought), limit)


def likeness(together: int, orders: int, other_orders: int) -> float:
    """From 0 to 1: cosine, times the confidence in `together`."""
    return together / math.sqrt(orders * other_orders) * together / (together + SHRINKAGE)


def _alike(product_ids: Sequence[str]) -> list[str]:
    """Most alike first; likenesses to several products add up."""
    affinities = Affinity.of(product_ids).values()
    others = {neighbour.product_id for each in affinities for neighbour in each.neighbours}
    orders = affinity.orders_of(others)
    scores: dict[str, float] = defaultdict(float)
    for each in affinities:
        for neighbour in each.neighbours:
            # A neighbour's own count may lag.
            other_orders = max(orders.get(neighbour.product_id, 0), neighbour.count)
            scores[neighbour.product_id] += likeness(neighbour.certain, each.orders, other_orders)
    return sorted(scores, key=lambda product_id: (-scores[product_id], product_id))


def _chosen(
    finder: Finder, alike: Sequence[str], categories: Sequence[str], excluded: Collection[str], limit: int
) -> list[Recommendation]:
    chosen: dict[str, Recommendation] = {}
    for because, products in _candidates(finder, alike, categories, limit + len(excluded)):
        for product in products:
            if product.id not in excluded:
                chosen.setdefault(product.id, Recommendation(product, because))
        if len(chosen) >= limit:
            break
    return list(chosen.values())[:limit]


def _candidates(
    finder: Finder, alike: Sequence[str], categories: Sequence[str], limit: int
) -> Iterator[tuple[str, list[Product]]]:
    yield BOUGHT_TOGETHER, current(alike, Filters(in_stock=True))
    for category in categories:
        yield POPULAR_IN_CATEGORY, _best_sellers(finder, Filters(category, in_stock=True), limit)
    # Enough extra for the category best sellers already chosen.
    yield POPULAR, _best_sellers(finder, Filters(in_stock=True), limit + limit * len(categories))


def _best_sellers(finder: Finder, filters: Filters, limit: int) -> list[Product]:
    places = finder.browse(filters, "popular", None, limit)
    return current([place.product_id for place in places], filters)
