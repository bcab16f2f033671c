"""`python -m services.products.seed`: indexes, and the products of catalogue.jsonl that are not there yet."""

import sys
from collections.abc import Iterable
from pathlib import Path

import pymongo
from pydantic import ValidationError
from pymongo import UpdateOne
from pymongo.errors import ConnectionFailure

import services.products
from services.products.app import service
from services.products.bulk import id_of
from services.products.models import Product
from services.products.schemas import NewProduct

MAX_SECONDS = 120
CATALOGUE = Path(__file__).with_name("catalogue.jsonl")


def seed(lines: Iterable[str]) -> int:
    """Add the products whose SKU is new, and leave the others as they are; gives how many were added.

    Raises SystemExit, naming the line, when one is no product; then none is added.
    """
    rows = [_parse(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    # The id follows from the SKU, so that even two seeds at once add each product once.
    products = [Product.new(id_of(row.sku), **row.model_dump()) for row in rows]
    additions = [
        UpdateOne({"sku": product.sku}, {"$setOnInsert": product.to_mongo()}, upsert=True) for product in products
    ]
    if not additions:
        return 0
    # One operation with the work of hundreds, on a machine that may be starting twenty programs meanwhile.
    with pymongo.timeout(MAX_SECONDS):
        return Product._get_collection().bulk_write(additions, ordered=False).upserted_count


def _parse(number: int, line: str) -> NewProduct:
    try:
        return NewProduct.model_validate_json(line)
    except ValidationError as error:
        wrong = error.errors()[0]
        raise SystemExit(f"Line {number}: {'.'.join(map(str, wrong['loc']))} {wrong['msg']}") from None


def main() -> None:
    try:
        service.store.migrate(services.products)
        with CATALOGUE.open(encoding="utf-8") as lines:
            added = seed(lines)
        print(f"{added} products added, {Product.objects.count()} in the catalogue.")
    except ConnectionFailure as error:
        sys.exit(f"MongoDB does not answer: {error}")


if __name__ == "__main__":
    main()
