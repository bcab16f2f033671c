"""Deletes what is old, in bounded batches.

For KEPT, orders can be cancelled and refunded, commands repeated, and the stock audited movement by movement. Before that
the audit begins with the opening: the stock after the last deleted entry, kept in its product.
"""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import pymongo

from chassis.storage import mongo
from services.products.models import Basket, Entry, Product, Reservation
from services.products.models.reservation import SETTLED

KEPT = timedelta(days=400)
"""A business year and its stocktaking. Afterwards a stock command of an order is retried in vain, until it is a dead letter."""

BASKETS_KEPT = timedelta(days=90)
"""Far longer than any redelivery."""

BATCH = 1_000


def purge() -> bool:
    """Whether there may be more."""
    now = mongo.now()
    # Reservations before their movements, or the audit would miss these.
    return (
        _delete(Reservation, now - KEPT, state={"$in": list(SETTLED)}, unsent={"$size": 0})
        or _delete(Basket, now - BASKETS_KEPT, is_counted=True)
        or _close_books(now - KEPT)
    )


def _delete(kind: Any, before: datetime, **condition: Any) -> bool:
    collection = kind._get_collection()
    old = collection.find({"created_at": {"$lt": before}, **condition}, {"_id": 1}).limit(BATCH)
    ids = [each["_id"] for each in old]
    collection.delete_many({"_id": {"$in": ids}, **condition})
    return len(ids) == BATCH


def _close_books(before: datetime) -> bool:
    """First the opening, then the entries: in between, the audit ignores them."""
    ledger = Entry._get_collection()
    old = list(ledger.find({"at": {"$lt": before}, "unsent": []}).sort("at", pymongo.ASCENDING).limit(BATCH))
    last: dict[str, dict[str, Any]] = {}
    for entry in old:
        if entry["product_id"] not in last or entry["number"] > last[entry["product_id"]]["number"]:
            last[entry["product_id"]] = entry
    _open_books(last)
    gone = defaultdict(list)
    for entry in old:
        gone[entry["product_id"]].append(entry["_id"])
    for ids in gone.values():
        ledger.delete_many({"_id": {"$in": ids}})
    return len(old) == BATCH


def _open_books(last: dict[str, dict[str, Any]]) -> None:
    writes = [
        pymongo.UpdateOne(
            {"_id": product_id, "$or": [{"opening": None}, {"opening.number": {"$lt": entry["number"]}}]},
            {
                "$set": {
                    "opening": {
                        "number": entry["number"],
                        "on_hand": entry["on_hand_after"],
                        "held": entry["held_after"],
                        "sold": entry["sold_after"],
                    }
                }
            },
        )
        for product_id, entry in last.items()
    ]
    if writes:
        Product._get_collection().bulk_write(writes, ordered=False)
