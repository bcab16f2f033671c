"""What else might please: learned from confirmed orders as they come, and asked for a product or for a customer.

Two products are alike as far as they are bought together more often than each is bought: the cosine of their orders,
shrunk while few orders have both. Where nothing is known yet, what sells best in the category stands in, then what sells
best of all. Only what is on sale and on hand is recommended.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.products.finding.finder import Filters, Finder
from services.products.listing import as_they_are
from services.products.models import Affinity, Basket, Product, Taste

BOUGHT_TOGETHER = "bought_together"
POPULAR_IN_CATEGORY = "popular_in_category"
POPULAR = "popular"

SHRINKAGE = 3.0
"""So many orders with both count half: one coincidence is not yet a likeness."""

LATEST = 20
"""How many of the products that a customer bought last speak for their taste."""


@dataclass(frozen=True)
class Recommendation:
    product: Product
    because: str


# --- learning


def learn(order_id: UUID, user_id: UUID, product_ids: Iterable[UUID]) -> None:
    """Count an order, once however often it is told. Raises Changing."""
    basket = Basket.of(order_id)
    if basket.is_counted:
        return
    bought = sorted({str(product_id) for product_id in product_ids})
    for product_id in bought:
        Affinity.count(product_id, [other for other in bought if other != product_id], basket.order_id)
    Taste.remember(user_id, bought)
    basket.close()


# --- recommending


def for_product(finder: Finder, product_id: str, category: str, limit: int) -> list[Recommendation]:
    """The best first, at most `limit`."""
    return _chosen(finder, _alike([product_id]), [category], {product_id}, limit)


def for_customer(finder: Finder, user_id: UUID, limit: int) -> list[Recommendation]:
    """From what they bought, and not that again; for somebody who bought nothing yet, what sells best."""
    bought = Taste.bought_by(user_id)
    latest = bought[:LATEST]
    categories = Counter(product.category for product in Product.objects(id__in=latest).only("category"))
    favourites = [category for category, _ in categories.most_common(3)]
    return _chosen(finder, _alike(latest), favourites, set(bought), limit)


def likeness(together: int, orders: int, other_orders: int) -> float:
    """From 0 to 1: cosine of two products' orders, times how far `together` can be trusted."""
    return together / math.sqrt(orders * other_orders) * together / (together + SHRINKAGE)


def _alike(product_ids: Sequence[str]) -> list[str]:
    """Products bought together with these, the most alike first; likenesses to several of them add up."""
    known = list(Affinity.objects(id__in=product_ids).only("orders", "neighbours"))
    others = {neighbour.product_id for affinity in known for neighbour in affinity.neighbours}
    orders = {other.id: other.orders for other in Affinity.objects(id__in=list(others)).only("orders")}
    scores: dict[str, float] = defaultdict(float)
    for affinity in known:
        for neighbour in affinity.neighbours:
            # A neighbour's own count may be a moment behind.
            other_orders = max(orders.get(neighbour.product_id, 0), neighbour.count)
            scores[neighbour.product_id] += likeness(neighbour.certain, affinity.orders, other_orders)
    return sorted(scores, key=lambda product_id: (-scores[product_id], product_id))


def _chosen(
    finder: Finder, alike: Sequence[str], categories: Sequence[str], without: Collection[str], limit: int
) -> list[Recommendation]:
    chosen: dict[str, Recommendation] = {}
    for because, products in _offers(finder, alike, categories, limit + len(without)):
        for product in products:
            if product.id not in without:
                chosen.setdefault(product.id, Recommendation(product, because))
        if len(chosen) >= limit:
            break
    return list(chosen.values())[:limit]


def _offers(
    finder: Finder, alike: Sequence[str], categories: Sequence[str], most: int
) -> Iterator[tuple[str, list[Product]]]:
    """Why, and what, until the taker has enough."""
    yield BOUGHT_TOGETHER, as_they_are(alike, Filters(in_stock=True))
    for category in categories:
        yield POPULAR_IN_CATEGORY, _best_sellers(finder, Filters(category, in_stock=True), most)
    # What the categories gave is among these, and was chosen already.
    yield POPULAR, _best_sellers(finder, Filters(in_stock=True), most + most * len(categories))


def _best_sellers(finder: Finder, filters: Filters, most: int) -> list[Product]:
    places = finder.browse(filters, "popular", None, most)
    return as_they_are([place.product_id for place in places], filters)
