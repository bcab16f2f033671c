"""What of the catalogue is kept for its readers in Redis, and how it is forgotten when it changes.

What a customer sees is at most FRESH_SECONDS old, and less where the change was told here. While the database is away it
may be KEPT_SECONDS old.
"""

from functools import lru_cache

from chassis.storage.mongo import MongoStore
from services.products.cache import Cache
from services.products.settings import Settings

FRESH_SECONDS = 2.0
KEPT_SECONDS = 300.0

LISTS = "lists"
"""The generation of lists, searches and categories: each change that the staff make starts another."""


@lru_cache
def cache() -> Cache:
    return Cache(Settings.current().redis_url, "products", MongoStore.unavailable, KEPT_SECONDS)


def key(product_id: object) -> str:
    return f"product:{product_id}"


def forget(*product_ids: object) -> None:
    """These products changed, or their stock did."""
    cache().forget(*map(key, product_ids))


def forget_lists() -> None:
    cache().turn(LISTS)
