"""What else might please: learned from confirmed orders as they come, and asked for a product or for a customer.

Two products are alike as far as they are bought together more often than each is bought: the cosine of their orders,
shrunk while few orders have both. Where nothing is known yet, what sells best in the category stands in, then what sells
best of all. Only what is on sale and on hand is recommended.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.products.models import Affinity, Basket, Product, Taste
from services.products.models.product import INTERNAL

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


def for_product(product: Product, limit: int) -> list[Recommendation]:
    """The best first, at most `limit`."""
    alike = _alike([product.id])
    return _chosen(alike, [product.category], {product.id}, limit)


def for_customer(user_id: UUID, limit: int) -> list[Recommendation]:
    """From what they bought, and not that again; for somebody who bought nothing yet, what sells best."""
    bought = Taste.bought_by(user_id)
    latest = bought[:LATEST]
    categories = Counter(product.category for product in Product.objects(id__in=latest).only("category"))
    favourites = [category for category, _ in categories.most_common(3)]
    return _chosen(_alike(latest), favourites, set(bought), limit)


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
    alike: Sequence[str], categories: Sequence[str], without: Collection[str], limit: int
) -> list[Recommendation]:
    chosen: dict[str, Recommendation] = {}
    for because, products in _offers(alike, categories, without, limit):
        for product in products:
            chosen.setdefault(product.id, Recommendation(product, because))
        if len(chosen) >= limit:
            break
    return list(chosen.values())[:limit]


def _offers(
    alike: Sequence[str], categories: Sequence[str], without: Collection[str], limit: int
) -> Iterator[tuple[str, list[Product]]]:
    """Why, and what, until the taker has enough."""
    candidates = [product_id for product_id in alike if product_id not in without]
    found = {product.id: product for product in _buyable(id__in=candidates)}
    yield BOUGHT_TOGETHER, [found[product_id] for product_id in candidates if product_id in found]
    # More than are wanted, as some of them were chosen already.
    for category in categories:
        yield POPULAR_IN_CATEGORY, _popular(without, 2 * limit, category=category)
    yield POPULAR, _popular(without, 2 * limit)


def _popular(without: Collection[str], limit: int, **condition: Any) -> list[Product]:
    return list(_buyable(id__nin=list(without), **condition).order_by("-sold_quantity", "-id").limit(limit))


def _buyable(**condition: Any) -> Any:
    return Product.objects(is_active=True, stock_quantity__gt=0, **condition).exclude(*INTERNAL)
