"""Search by MongoDB itself: its text index finds, our ranking puts in order."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import mongoengine
from bson import Decimal128
from pymongo import ASCENDING, DESCENDING, UpdateOne
from pymongo.collection import Collection

from chassis.storage import mongo
from services.products.finding import slips
from services.products.finding.finder import (
    FIELDS,
    MAX_COUNTED,
    MAX_RANKED,
    PRICE_STEPS,
    Counted,
    Filters,
    Match,
    Order,
    Place,
    SearchOrder,
    Value,
)
from services.products.finding.index import texts_of
from services.products.finding.question import Question

RANKED = ("name", "category", "sku", "description")


TALLIED_FOR = timedelta(seconds=60)
"""How long the counts of categories may miss a change that nobody told, as whoever made it was killed."""

_TALLY = {"_id": "categories"}


class DatabaseFinder:
    name = "database"

    def __init__(self, now: Callable[[], datetime] = mongo.now) -> None:
        self._now = now

    def refresh(self, is_changed: bool) -> None:
        """Nothing lies between it and what was written."""

    # --- lists

    def browse(self, filters: Filters, order: Order, after: Place | None, most: int) -> list[Place]:
        field, descends = FIELDS[order]
        direction = DESCENDING if descends else ASCENDING
        found = _products().find(behind(condition(filters), field, descends, after), {field: 1})
        rows = found.sort([(field, direction), ("_id", direction)]).limit(most)
        return [Place(_value(row[field]), row["_id"]) for row in rows]

    def categories(self) -> list[tuple[str, int]]:
        """Counting looks at every product, so that the counts are kept until a change is told."""
        tally = _catalogue().find_one(_TALLY) or {}
        if self._now() - tally.get("counted_at", mongo.BEGINNING) < TALLIED_FOR:
            return [(category, products) for category, products in tally["counts"]]
        counted_at, counts = self._now(), self._counted_categories()
        _catalogue().update_one(_TALLY, {"$setOnInsert": {"mark": ""}}, upsert=True)
        # What was told while we counted has set another mark.
        state = _TALLY | {"mark": tally.get("mark", "")}
        _catalogue().update_one(state, {"$set": {"counted_at": counted_at, "counts": counts}})
        return counts

    def _counted_categories(self) -> list[tuple[str, int]]:
        stages: list[dict[str, Any]] = [
            {"$match": {"is_active": True}},
            {"$group": {"_id": "$category", "products": {"$sum": 1}}},
            {"$sort": {"_id": 1}},
        ]
        return [(row["_id"], row["products"]) for row in _products().aggregate(stages)]

    # --- search

    def matches(self, question: Question, filters: Filters, order: SearchOrder) -> list[Match]:
        score = {"$meta": "textScore"}
        field, _ = FIELDS.get(order, ("name", False))
        fields = {**dict.fromkeys((*RANKED, field), 1), "score": score}
        found = _products().find(condition(filters, question), fields).sort([("score", score)]).limit(MAX_RANKED)
        return [Match(Place(_value(row[field]), row["_id"]), texts_of(row)) for row in found]

    def counted(self, question: Question | None, filters: Filters) -> list[Counted]:
        fields = {"category": 1, "price": 1, "stock_quantity": 1}
        found = _products().find(condition(filters, question), fields).limit(MAX_COUNTED)
        alike = Counter((row["category"], _step(row["price"].to_decimal()), row["stock_quantity"] > 0) for row in found)
        return [Counted(*kind, products) for kind, products in alike.items()]

    # --- vocabulary: for guessing what is meant, so that its counts may drift

    def learn(self, documents: Sequence[dict[str, Any]]) -> None:
        _catalogue().update_one(_TALLY, {"$set": {"mark": uuid4().hex}, "$unset": {"counted_at": 1}}, upsert=True)
        written = Counter(word for document in documents for word in {*texts_of(document).words()})
        additions = [
            UpdateOne(
                {"_id": word}, {"$inc": {"products": count}, "$set": {"slips": sorted(slips.keys(word))}}, upsert=True
            )
            for word, count in sorted(written.items())
        ]
        if additions:
            _words().bulk_write(additions, ordered=False)

    def commonness(self, word: str) -> float:
        known = _words().find_one({"_id": word})
        return min(1.0, known["products"] / max(1, _products().estimated_document_count())) if known else 0.0

    def completions(self, beginning: str, most: int) -> list[str]:
        longer = _words().find({"_id": {"$gt": beginning, "$lt": beginning + "\U0010ffff"}})
        return [row["_id"] for row in longer.sort([("products", DESCENDING), ("_id", ASCENDING)]).limit(most)]

    def similar(self, word: str, most: int) -> list[str]:
        alike = _words().find({"slips": {"$in": sorted(slips.typed_keys(word))}}, {"products": 1})
        return slips.likeliest(word, ((row["_id"], row["products"]) for row in alike), most)


def condition(filters: Filters, question: Question | None = None) -> dict[str, Any]:
    """The query that finds what passes the filters, and has a word of the question."""
    asked: dict[str, Any] = {"is_active": {"$in": [True, False]} if filters.is_active is None else filters.is_active}
    if filters.category is not None:
        asked["category"] = filters.category
    bounds = {"$gte": filters.least, "$lte": filters.most}
    if price := {operator: Decimal128(bound) for operator, bound in bounds.items() if bound is not None}:
        asked["price"] = price
    if filters.in_stock is not None:
        asked["stock_quantity"] = {"$gt": 0} if filters.in_stock else 0
    if question is not None:
        # Words hold letters and digits only, so that none is heard as a phrase or as one to leave out.
        asked["$text"] = {"$search": " ".join(word for each in question.wanted for word, _ in each.alternatives)}
    return asked


def behind(condition: dict[str, Any], field: str, descends: bool, after: Place | None) -> dict[str, Any]:
    """`condition`, and only what comes after a place."""
    if after is None:
        return condition
    operator = "$lt" if descends else "$gt"
    value = Decimal128(after.value) if isinstance(after.value, Decimal) else after.value
    return {
        "$and": [
            condition,
            # It repeats what the next clause implies: it alone lets an index start at the place.
            {field: {f"{operator}e": value}},
            {"$or": [{field: {operator: value}}, {"_id": {operator: after.product_id}}]},
        ]
    }


def _step(price: Decimal) -> Decimal:
    return max(step for step in PRICE_STEPS if step <= price)


def _value(value: Any) -> Value:
    return value.to_decimal() if isinstance(value, Decimal128) else value


def _products() -> "Collection[Any]":
    return mongoengine.get_db()["products"]


def _catalogue() -> "Collection[Any]":
    return mongoengine.get_db()["catalogue"]


def _words() -> "Collection[Any]":
    return mongoengine.get_db()["words"]
