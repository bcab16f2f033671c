"""How often a recommendation is right: of each held-out order, one product is shown and another has to be predicted.

Orders are generated with a structure to find: most are for an occasion, with products of several categories, some are of popular
products. The first 80 % are learned one by one, the rest are the questions. Baselines are the best sellers, overall and of the
category.
"""

import argparse
import random
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import accumulate

from rich.console import Console
from rich.progress import track
from rich.table import Table

import services.products
from bench._services import mongo_database
from services.products import recommendations
from services.products.app import service
from services.products.models import Basket, Product
from services.products.search.finder import finder
from services.products.settings import Settings

console = Console(highlight=False)

AT = 10
HELD_OUT = 0.2
CATEGORIES = 12
OCCASION_SIZE = 6


@dataclass(frozen=True)
class Order:
    customer: uuid.UUID
    products: tuple[uuid.UUID, ...]


@dataclass(frozen=True)
class Shop:
    """Generated; orders oldest first."""

    categories: dict[uuid.UUID, str]
    orders: list[Order]

    @property
    def learned(self) -> list[Order]:
        return self.orders[: int(len(self.orders) * (1 - HELD_OUT))]

    @property
    def held_out(self) -> list[Order]:
        return self.orders[len(self.learned) :]


def shop(products: int, orders: int, seed: int) -> Shop:
    dice = random.Random(seed)
    ids = [uuid.UUID(int=dice.getrandbits(128), version=4) for _ in range(products)]
    categories = {product: f"category-{number % CATEGORIES}" for number, product in enumerate(ids)}
    # Zipf: the n-th product is wanted 1/n as often as the first.
    fame = list(accumulate(1 / rank for rank in range(1, products + 1)))
    occasions = [dice.sample(ids, OCCASION_SIZE) for _ in range(products // 8)]
    customers = [
        (uuid.UUID(int=dice.getrandbits(128), version=4), dice.sample(occasions, 2)) for _ in range(orders // 6)
    ]

    def order() -> Order:
        customer, favourites = dice.choice(customers)
        bought: set[uuid.UUID] = set()
        if dice.random() < 0.7:
            occasion = dice.choice(favourites if dice.random() < 0.8 else occasions)
            bought |= set(dice.sample(occasion, dice.randint(2, 3)))
        while len(bought) < 2 or dice.random() < 0.3:
            bought |= set(dice.choices(ids, cum_weights=fame))
        return Order(customer, tuple(sorted(bought)))

    return Shop(categories, [order() for _ in range(orders)])


@dataclass
class Result:
    """Number of questions, and by method those with the product among its first AT."""

    questions: int
    hits: dict[str, int]

    def rate(self, method: str) -> float:
        return self.hits[method] / self.questions


def learn(world: Shop, progress: Callable[[Sequence[Order]], Iterable[Order]] = iter) -> Counter[uuid.UUID]:
    """Learn what is not held out; returns orders by product."""
    sold = Counter(product for order in world.learned for product in order.products)
    for product, category in world.categories.items():
        _save(product, category, sold[product])
    for number, order in enumerate(progress(world.learned)):
        Basket.put(uuid.UUID(int=number), order.customer, order.products)
    while recommendations.learn():
        pass
    finder().refresh(is_changed=True)
    return sold


def _save(product_id: uuid.UUID, category: str, sold: int) -> None:
    fields = {"sku": str(product_id), "name": str(product_id), "price": Decimal(1), "currency": "EUR"}
    product = Product.new(product_id, category=category, stock_quantity=1_000, **fields)
    product.sold_quantity = sold
    product.save(force_insert=True)


def beside_products(world: Shop, sold: Counter[uuid.UUID], dice: random.Random) -> Result:
    """Is another product of the order recommended?"""
    ranked = [product for product, _ in sold.most_common()]

    def best_of_category(shown: uuid.UUID) -> list[uuid.UUID]:
        return [product for product in ranked if world.categories[product] == world.categories[shown]]

    def ours(shown: uuid.UUID) -> list[uuid.UUID]:
        found = recommendations.for_product(finder(), str(shown), world.categories[shown], AT)
        return [uuid.UUID(each.product.id) for each in found]

    methods: dict[str, Callable[[uuid.UUID], list[uuid.UUID]]] = {
        "best sellers": lambda _: ranked,
        "best sellers of the category": best_of_category,
        "bought together": ours,
    }
    questions = [tuple(dice.sample(order.products, 2)) for order in world.held_out]
    hits = {
        name: sum(wanted in _first(predict(shown), {shown}) for shown, wanted in questions)
        for name, predict in methods.items()
    }
    return Result(len(questions), hits)


def for_customers(world: Shop, sold: Counter[uuid.UUID]) -> Result:
    """Is a new product of the next order recommended?"""
    bought: dict[uuid.UUID, set[uuid.UUID]] = {}
    for order in world.learned:
        bought.setdefault(order.customer, set()).update(order.products)
    following: dict[uuid.UUID, set[uuid.UUID]] = {}
    for order in world.held_out:
        if new := set(order.products) - bought.get(order.customer, set(order.products)):
            following.setdefault(order.customer, new)
    ranked = [product for product, _ in sold.most_common()]
    hits = {"best sellers": 0, "bought together": 0}
    for customer, wanted in following.items():
        found = recommendations.for_customer(finder(), customer, AT)
        hits["best sellers"] += bool(wanted & set(_first(ranked, bought[customer])))
        hits["bought together"] += bool(wanted & {uuid.UUID(each.product.id) for each in found})
    return Result(len(following), hits)


def _first(ranked: Sequence[uuid.UUID], excluded: set[uuid.UUID]) -> list[uuid.UUID]:
    return [product for product in ranked if product not in excluded][:AT]


def main() -> None:
    parser = argparse.ArgumentParser(prog="./souk bench recommendations", description=__doc__)
    parser.add_argument("--products", type=int, default=300)
    parser.add_argument("--orders", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = mongo_database()
        Settings.use(mongo_url=database, search_directory=folder, log_level="warning")
        service.store.migrate(services.products)
        world = shop(chosen.products, chosen.orders, chosen.seed)
        sold = learn(world, partial(track, description="learning orders", console=console))
        results = beside_products(world, sold, random.Random(chosen.seed)), for_customers(world, sold)
    for title, result in zip(("Beside a product", "For a customer"), results, strict=True):
        table = Table("recommended", f"hit rate at {AT}", "ratio", title=f"{title} ({result.questions} questions)")
        for method in result.hits:
            rate = result.rate(method)
            table.add_row(method, f"{rate:.1%}", f"{rate / max(result.rate('best sellers'), 1e-9):.2f}")
        console.print(table)


if __name__ == "__main__":
    main()
