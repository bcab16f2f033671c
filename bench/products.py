"""What reading the catalogue costs as it grows: 1,000 and 100,000 products in one run, and the ratio.

Every read is made afresh, without the cache, through the service's HTTP edge in one process. `--size N` is another size
than 100,000.
"""

import argparse
import os
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any

import mongoengine
import pymongo
from bson import Decimal128
from flask.testing import FlaskClient
from rich.console import Console
from rich.table import Table

import services.products
from bench._measure import Series, measure
from chassis import application
from services.products.app import service
from services.products.finding.choice import finder
from services.products.models import Product
from services.products.models.product import SHELVES

SMALL, LARGE = 1_000, 100_000
CALLS = 100
BATCH = 1_000
SETUP_SECONDS = 300
"""Longest for one operation that sets up or clears away."""
_WORDS = (
    "copper tin silk woollen blue green red carved painted woven small large old round smoked dried",
    "kettle bowl scarf rug lamp cup plate teapot candle notebook ring necklace drum board basket vase towel jug",
    "Fez Aleppo Nablus Iznik Safi Bursa Konya Chios Tunis Cairo Petra Agadez Samarkand Shiraz Herat Muscat",
)
ADJECTIVES, NOUNS, PLACES = (words.split() for words in _WORDS)

console = Console(highlight=False)


def catalogue(size: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Products as the database keeps them, with common words, one that ten products have, and one of its own.

    So the vocabulary grows as the catalogue does, which no real one does.
    """
    price, stock = Decimal(1), 3
    pattern = Product.new(uuid.uuid4(), sku="", name="", category="", price=price, currency="EUR", stock_quantity=stock)
    document = pattern.to_mongo().to_dict()
    for number in range(size):
        product_id = uuid.UUID(int=chance.getrandbits(128))
        name = f"{chance.choice(ADJECTIVES)} {chance.choice(NOUNS)} from {chance.choice(PLACES)}".capitalize()
        yield document | {
            "_id": str(product_id),
            "sku": f"B-{number}",
            "name": f"{name} {_rare(number // 10)}",
            "description": f"{' '.join(chance.choices(ADJECTIVES + NOUNS, k=20)).capitalize()} {_rare(number)}.",
            "category": f"category-{number % 20}",
            "price": Decimal128(str(Decimal(chance.randrange(100, 30_000)).scaleb(-2))),
            "stock_quantity": chance.randrange(5),
            "sold_quantity": chance.randrange(1_000),
            "shelf": product_id.bytes[0] * SHELVES // 256,
            "created_at": document["created_at"] - timedelta(seconds=number),
        }


def _rare(number: int) -> str:
    """A word of five letters, another for each number."""
    letters = []
    for _ in range(5):
        number, letter = divmod(number * 7 + 3, 23)
        letters.append("abcdefghiklmnopqrstuvwx"[letter])
        number %= 10_000
    return "".join(letters)


def load(size: int, directory: str) -> None:
    """Another database, with so many products and its search index."""
    mongoengine.disconnect()
    service.__dict__.pop("store", None)
    url = f"{os.environ['SOUK_TEST_MONGO_URL'].rstrip('/')}/bench_{uuid.uuid4().hex[:8]}"
    keys = {"bench": uuid.uuid4().hex}
    service.settings_class.use(mongo_url=url, jwt_keys=keys, log_level="warning", search_directory=directory)
    service.__dict__.pop("settings", None)
    Product._collection = None
    started = time.perf_counter()
    store = service.store
    made = catalogue(size, random.Random(1))
    while batch := list(islice(made, BATCH)):
        with pymongo.timeout(SETUP_SECONDS):
            mongoengine.get_db()["products"].insert_many(batch, ordered=False)
    # Indexes come last, as that is faster.
    store.migrate(services.products)
    loaded = time.perf_counter()
    while not _is_built():
        console.print("the search index is being built ...", end="\r")
    told = f"loaded in {loaded - started:.0f} s, search ({finder().name}) in {time.perf_counter() - loaded:.1f} s"
    console.print(f"{size:,} products: {told}")


def _is_built() -> bool:
    from chassis.problems import Unavailable

    try:
        finder().refresh(is_changed=True)
    except Unavailable:
        return False
    return True


def reads(client: FlaskClient, chance: random.Random) -> dict[str, Callable[[], object]]:
    """By what a customer does."""
    answer: Any = client.get("/products/?limit=100").json
    page = answer["items"]
    ids = [one["id"] for one in page]
    rare = [one["name"].split()[-1] for one in page]

    def get(path: str, **query: str) -> None:
        answer = client.get(path, query_string=query)
        assert answer.status_code == 200, answer.text

    return {
        "product": lambda: get(f"/products/{chance.choice(ids)}"),
        "list, newest": partial(get, "/products/", limit="100"),
        "list, second page": partial(get, "/products/", limit="100", cursor=answer["next"]),
        "category by price": lambda: get("/products/", category=f"category-{chance.randrange(20)}", sort="price"),
        "categories": partial(get, "/products/categories"),
        "search, a rare word": lambda: get("/products/search", q=chance.choice(rare)),
        "search, a common word": lambda: get("/products/search", q=chance.choice(NOUNS)),
        "search, three words": lambda: get(
            "/products/search", q=f"{chance.choice(ADJECTIVES)} {chance.choice(NOUNS)} {chance.choice(PLACES)}"
        ),
        "search, a slip": lambda: get("/products/search", q=f"{chance.choice(NOUNS)[:-1]}q"),
        "search in a category": lambda: get("/products/search", q="kettle", category="category-3", in_stock="true"),
    }


def run(size: int, calls: int) -> list[Series]:
    with tempfile.TemporaryDirectory(prefix="souk-bench-") as directory:
        load(size, directory)
        return _measured(calls)


def _measured(calls: int) -> list[Series]:
    client = application.build(service).test_client()
    series = []
    for name, read in reads(client, random.Random(2)).items():
        measure("warm-up", read, max(calls // 10, 1))
        series.append(measure(name, read, calls))
    with pymongo.timeout(SETUP_SECONDS):
        mongoengine.get_connection().drop_database(mongoengine.get_db().name)
    return series


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=LARGE)
    parser.add_argument("--calls", type=int, default=CALLS)
    told = parser.parse_args()
    small, large = run(SMALL, told.calls), run(told.size, told.calls)
    sizes = f"{SMALL:,}", f"{told.size:,}"
    table = Table("read, uncached", *(f"{size} {part} ms" for size in sizes for part in ("p50", "p95")), "ratio of p50")
    for before, after in zip(small, large, strict=True):
        numbers = [f"{each.percentile(percent):.1f}" for each in (before, after) for percent in (50, 95)]
        table.add_row(before.name, *numbers, f"{after.percentile(50) / before.percentile(50):.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
