"""The indexes with which MongoDB itself finds products. A server that has no text search gets none: lists are not its either."""

from typing import Any

from pymongo import ASCENDING, DESCENDING, TEXT, IndexModel
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from services.products.finding.finder import FIELDS

TEXT_INDEX = "texts"
CANNOT_CREATE_INDEX = 67

WEIGHTS = {"name": 10, "category": 5, "sku": 5, "description": 2}


def declare(products: "Collection[Any]") -> None:
    """Ask for the text index, and where it was granted for those of the lists. May be repeated."""
    fields = [(field, TEXT) for field in WEIGHTS]
    text = IndexModel(fields, name=TEXT_INDEX, weights=WEIGHTS, default_language="english")
    try:
        products.create_indexes([text])
    except OperationFailure as error:
        if error.code != CANNOT_CREATE_INDEX:
            raise
        return
    products.create_indexes([IndexModel(keys) for keys in list_keys()])
    products.database["words"].create_index("slips")


def list_keys() -> list[list[tuple[str, int]]]:
    """The keys of each index that a list walks: what is on sale, of all categories or of one, in each order."""
    orders = {field: DESCENDING if descends else ASCENDING for field, descends in FIELDS.values()}
    return [
        [*((name, ASCENDING) for name in fixed), (field, direction), ("_id", direction)]
        for fixed in (["is_active"], ["is_active", "category"])
        for field, direction in orders.items()
    ]


def has_text_search(products: "Collection[Any]") -> bool:
    return TEXT_INDEX in products.index_information()
