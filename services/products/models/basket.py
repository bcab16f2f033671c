"""Confirmed orders, for recommendations."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from mongoengine import BooleanField, DateTimeField, Document, ListField, StringField
from mongoengine.errors import NotUniqueError

from chassis.storage import mongo

KEPT_SECONDS = 90 * 24 * 3_600
"""Far longer than any redelivery."""

MAX_BOUGHT = 50


class Basket(Document):
    meta: ClassVar[dict[str, Any]] = {
        "collection": "baskets",
        "auto_create_index": False,
        "strict": False,
        "indexes": [{"fields": ["created_at"], "expireAfterSeconds": KEPT_SECONDS}],
    }

    order_id = StringField(primary_key=True)
    is_counted = BooleanField(required=True, default=False)
    created_at = DateTimeField(required=True)

    @classmethod
    def of(cls, order_id: UUID) -> "Basket":
        try:
            return cls(order_id=str(order_id), created_at=mongo.now()).save(force_insert=True)
        except NotUniqueError:
            return cls.objects.get(order_id=str(order_id))

    def close(self) -> None:
        Basket.objects(order_id=self.order_id).update_one(set__is_counted=True)


class Taste(Document):
    """A customer's product ids, latest last. Once erased it stays empty."""

    meta: ClassVar[dict[str, Any]] = {"collection": "tastes", "auto_create_index": False, "strict": False}

    user_id = StringField(primary_key=True)
    bought = ListField(StringField())
    is_erased = BooleanField(required=True, default=False, db_field="is_forgotten")

    @classmethod
    def add(cls, user_id: UUID, product_ids: Sequence[str]) -> None:
        with suppress(NotUniqueError):
            cls.objects(user_id=str(user_id)).update_one(upsert=True, set_on_insert__is_erased=False)
        pushed = {"$push": {"bought": {"$each": list(product_ids), "$slice": -MAX_BOUGHT}}}
        cls.objects(user_id=str(user_id), is_erased=False).update_one(__raw__=pushed)

    @classmethod
    def erase(cls, user_id: UUID) -> None:
        cls.objects(user_id=str(user_id)).update_one(upsert=True, set__is_erased=True, set__bought=[])

    @classmethod
    def bought_by(cls, user_id: UUID) -> list[str]:
        """Distinct product ids, latest first."""
        taste = cls.objects(user_id=str(user_id)).first()
        return list(dict.fromkeys(reversed(taste.bought))) if taste is not None else []
