"""Confirmed orders, for recommendations."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

import pymongo
from mongoengine import BooleanField, DateTimeField, Document, ListField, StringField
from pymongo.errors import BulkWriteError, DuplicateKeyError

from chassis.storage import mongo

MAX_BOUGHT = 50


class Basket(Document):
    """An order, until it is counted; then only its id, so that it is not counted again."""

    meta: ClassVar[dict[str, Any]] = {
        "collection": "baskets",
        "auto_create_index": False,
        "strict": False,
        "indexes": ["created_at", {"fields": ["waiting_since"], "sparse": True}],
    }

    order_id = StringField(primary_key=True)
    is_counted = BooleanField(required=True, default=False)
    user_id = StringField()
    product_ids = ListField(StringField())
    waiting_since = DateTimeField()
    created_at = DateTimeField(required=True)

    @classmethod
    def put(cls, order_id: UUID, user_id: UUID, product_ids: Collection[UUID]) -> None:
        """Idempotent."""
        moment = mongo.now()
        order = {
            "user_id": str(user_id),
            "product_ids": sorted({str(product_id) for product_id in product_ids}),
            "waiting_since": moment,
        }
        uncounted = {"_id": str(order_id), "is_counted": {"$ne": True}}
        made = {"is_counted": False, "created_at": moment}
        with suppress(DuplicateKeyError):  # counted
            cls._get_collection().update_one(uncounted, {"$set": order, "$setOnInsert": made}, upsert=True)

    @classmethod
    def waiting(cls, limit: int) -> "list[Basket]":
        """Oldest first."""
        return list(cls.objects(waiting_since__gt=mongo.BEGINNING).order_by("waiting_since").limit(limit))

    @classmethod
    def close(cls, order_ids: Collection[str]) -> None:
        personal = dict.fromkeys(("user_id", "product_ids", "waiting_since"), "")
        closed = {"$set": {"is_counted": True}, "$unset": personal}
        cls._get_collection().update_many({"_id": {"$in": list(order_ids)}}, closed)


class Taste(Document):
    """A customer's product ids, latest last. Once erased it stays empty."""

    meta: ClassVar[dict[str, Any]] = {"collection": "tastes", "auto_create_index": False, "strict": False}

    user_id = StringField(primary_key=True)
    bought = ListField(StringField())
    is_erased = BooleanField(required=True, default=False, db_field="is_forgotten")

    @classmethod
    def add(cls, baskets: Sequence[Basket]) -> None:
        """Oldest first. Products repeated after a crash do no harm."""
        writes = [
            pymongo.UpdateOne(
                {"_id": basket.user_id, "is_forgotten": {"$ne": True}},
                {
                    "$push": {"bought": {"$each": list(basket.product_ids), "$slice": -MAX_BOUGHT}},
                    "$setOnInsert": {"is_forgotten": False},
                },
                upsert=True,
            )
            for basket in baskets
        ]
        try:
            cls._get_collection().bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            mongo.ignore_duplicates(error)  # erased

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        cls.objects(user_id=str(user_id)).update_one(upsert=True, set__is_erased=True, set__bought=[])

    @classmethod
    def bought_by(cls, user_id: UUID) -> list[str]:
        """Distinct product ids, latest first."""
        taste = cls.objects(user_id=str(user_id)).first()
        return list(dict.fromkeys(reversed(taste.bought))) if taste is not None else []
