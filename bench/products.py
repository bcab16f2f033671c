"""Uncached reads of the catalogue over HTTP, with 1,000 and 100,000 products (or `--size N`)."""

import argparse
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
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
from bench._services import mongo_database
from chassis.base.problems import Unavailable
from chassis.run import web_app
from services.products.app import service
from services.products.models import Product
from services.products.models.product import SHELVES
from services.products.search.finder import finder

SMALL, LARGE = 1_000, 100_000
CALLS = 100
ROUNDS = 5
WARMUP_CALLS = 2
BATCH = 1_000
SETUP_TIMEOUT_SECONDS = 300
"""For each operation."""
_WORDS = (
    "copper tin silk woollen blue green red carved painted woven small large old round smoked dried",
    "kettle bowl scarf rug lamp cup plate teapot candle notebook ring necklace drum board basket vase towel jug",
    "Fez Aleppo Nablus Iznik Safi Bursa Konya Chios Tunis Cairo Petra Agadez Samarkand Shiraz Herat Muscat",
)
ADJECTIVES, NOUNS, PLACES = (words.split() for words in _WORDS)

console = Console(highlight=False)


def catalogue(size: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Each has frequent words, one shared by ten, and one of its own: more vocabulary than a real catalogue's."""
    price, stock = Decimal(1), 3
    pattern = Product.new(uuid.uuid4(), sku="", name="", category="", price=price, currency="EUR", stock_quantity=stock)
    document = pattern.to_mongo().to_dict()
    for number in range(size):
        product_id = uuid.UUID(int=chance.getrandbits(128))
        name = f"{chance.choice(ADJECTIVES)} {chance.choice(NOUNS)} from {chance.choice(PLACES)}".capitalize()
        yield document | {
            "_id": str(product_id),
            "sku": f"B-{number}",
            "sku_key": f"b-{number}",
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
    letters = []
    for _ in range(5):
        number, letter = divmod(number * 7 + 3, 23)
        letters.append("abcdefghiklmnopqrstuvwx"[letter])
        number %= 10_000
    return "".join(letters)


class Shop:
    """A database and search index."""

    def __init__(self, size: int, directory: str) -> None:
        self._url = mongo_database()
        self._directory = directory
        self.open()
        _load(size)
        self.reads = reads(web_app.build(service).test_client(), random.Random(2))

    def open(self) -> None:
        """Point this process's service at this shop."""
        mongoengine.disconnect()
        for name in ("store", "settings"):
            service.__dict__.pop(name, None)
        keys = {"bench": uuid.uuid4().hex}
        service.settings_class.use(
            mongo_url=self._url, jwt_keys=keys, log_level="warning", search_directory=self._directory
        )
        Product._collection = None
        _ = service.store

    def drop(self) -> None:
        self.open()
        with pymongo.timeout(SETUP_TIMEOUT_SECONDS):
            mongoengine.get_connection().drop_database(mongoengine.get_db().name)


def _load(size: int) -> None:
    started = time.perf_counter()
    made = catalogue(size, random.Random(1))
    while batch := list(islice(made, BATCH)):
        with pymongo.timeout(SETUP_TIMEOUT_SECONDS):
            mongoengine.get_db()["products"].insert_many(batch, ordered=False)
    # Creating indexes last is faster.
    service.store.migrate(services.products)
    loaded = time.perf_counter()
    while not _is_built():
        console.print("the search index is being built ...", end="\r")
    indexed = time.perf_counter()
    console.print(f"{size:,} products: loaded in {loaded - started:.0f} s, indexed in {indexed - loaded:.1f} s")


def _is_built() -> bool:
    try:
        finder().refresh(is_changed=True)
    except Unavailable:
        return False
    return True


def reads(client: FlaskClient, chance: random.Random) -> dict[str, Callable[[], object]]:
    first: Any = client.get("/products/?limit=100").json
    ids = [product["id"] for product in first["items"]]
    rare = [product["name"].split()[-1] for product in first["items"]]

    def get(path: str, **query: str) -> None:
        response = client.get(path, query_string=query)
        assert response.status_code == 200, response.text

    return {
        "product": lambda: get(f"/products/{chance.choice(ids)}"),
        "list, newest": partial(get, "/products/", limit="100"),
        "list, second page": partial(get, "/products/", limit="100", cursor=first["next"]),
        "category by price": lambda: get("/products/", category=f"category-{chance.randrange(20)}", sort="price"),
        "categories": partial(get, "/products/categories"),
        "search, a rare word": lambda: get("/products/search", q=chance.choice(rare)),
        "search, a common word": lambda: get("/products/search", q=chance.choice(NOUNS)),
        "search, three words": lambda: get(
            "/products/search", q=f"{chance.choice(ADJECTIVES)} {chance.choice(NOUNS)} {chance.choice(PLACES)}"
        ),
        "search, a typo": lambda: get("/products/search", q=f"{chance.choice(NOUNS)[:-1]}q"),
        "search in a category": lambda: get("/products/search", q="kettle", category="category-3", in_stock="true"),
    }


def compare(shops: Sequence[Shop], calls: int) -> list[list[Series]]:
    """Rounds alternate, so that other load affects all."""
    results = [[Series(name) for name in shop.reads] for shop in shops]
    for _ in range(ROUNDS):
        for shop, series in zip(shops, results, strict=True):
            shop.open()
            for each in series:
                read = shop.reads[each.name]
                measure("warm-up", read, WARMUP_CALLS)
                each.milliseconds += measure(each.name, read, max(calls // ROUNDS, 1)).milliseconds
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=LARGE)
    parser.add_argument("--calls", type=int, default=CALLS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="souk-bench-") as directory:
        shops = [Shop(size, directory) for size in (SMALL, options.size)]
        small, large = compare(shops, options.calls)
        for shop in shops:
            shop.drop()
    sizes = f"{SMALL:,}", f"{options.size:,}"
    columns = (f"{size} {part} ms" for size in sizes for part in ("p50", "p95"))
    table = Table("read, uncached", *columns, "ratio of p50", title="Reading the catalogue as it grows")
    table.columns[0].no_wrap = True
    for before, after in zip(small, large, strict=True):
        numbers = [f"{each.percentile(percent):.1f}" for each in (before, after) for percent in (50, 95)]
        table.add_row(before.name, *numbers, f"{after.percentile(50) / before.percentile(50):.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
