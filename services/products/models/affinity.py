"""How many orders each product was in, and with what else.

Lists are bounded; a new entry replaces the least frequent and takes over its count, recorded as `error` (Space-Saving).
Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from mongoengine import Document, EmbeddedDocument, EmbeddedDocumentListField, IntField, ListField, StringField
from mongoengine.errors import NotUniqueError

MAX_NEIGHBOURS = 100
MAX_COUNTED = 50
ATTEMPTS = 100


class Changing(Exception):
    """Retried later."""


class Neighbour(EmbeddedDocument):
    product_id = StringField(required=True)
    count = IntField(required=True)
    error = IntField(required=True, default=0)

    @property
    def certain(self) -> int:
        return self.count - self.error


class Affinity(Document):
    meta: ClassVar[dict[str, Any]] = {"collection": "affinities", "auto_create_index": False, "strict": False}

    id = StringField(primary_key=True)
    orders = IntField(required=True, default=0)
    neighbours = EmbeddedDocumentListField(Neighbour)
    counted = ListField(StringField())

    @classmethod
    def count(cls, product_id: str, others: Iterable[str], order_id: str) -> None:
        """Idempotent per order. Raises Changing."""
        for _ in range(ATTEMPTS):
            affinity = cls.objects(id=product_id).first() or cls._create(product_id)
            if order_id in affinity.counted or affinity._add(others, order_id):
                return
        raise Changing(f"What is bought with {product_id} changed at every attempt.")

    @classmethod
    def _create(cls, product_id: str) -> "Affinity":
        try:
            return cls(id=product_id).save(force_insert=True)
        except NotUniqueError:
            return cls.objects.get(id=product_id)

    def _add(self, others: Iterable[str], order_id: str) -> bool:
        neighbours = counted_with(self.neighbours, others)
        counted = [*self.counted, order_id][-MAX_COUNTED:]
        # `orders` grows with every change, so it serves as a version.
        unchanged = Affinity.objects(id=self.id, orders=self.orders)
        return unchanged.update_one(inc__orders=1, set__neighbours=neighbours, set__counted=counted) == 1


def counted_with(
    neighbours: Iterable[Neighbour], others: Iterable[str], limit: int = MAX_NEIGHBOURS
) -> list[Neighbour]:
    by_id = {each.product_id: each for each in neighbours}
    for other in others:
        if other in by_id:
            by_id[other].count += 1
        elif len(by_id) < limit:
            by_id[other] = Neighbour(product_id=other, count=1)
        else:
            rarest = min(by_id.values(), key=lambda each: each.count)
            del by_id[rarest.product_id]
            by_id[other] = Neighbour(product_id=other, count=rarest.count + 1, error=rarest.count)
    return list(by_id.values())
