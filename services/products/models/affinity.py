"""What is bought together: for each product, how many orders had it, and with what else.

The list of a product is bounded, as its document is. When it is full, the least frequent gives way and the newcomer takes over
its count, of which `error` remembers what was not its own: Space-Saving, which keeps whatever is frequent.
Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005.
"""

from collections.abc import Iterable
from typing import Any, ClassVar

from mongoengine import Document, EmbeddedDocument, EmbeddedDocumentListField, IntField, ListField, StringField
from mongoengine.errors import NotUniqueError

MAX_NEIGHBOURS = 100
REMEMBERED = 50
"""Orders of a product that are known again when their message comes again before it was handled to its end."""
ATTEMPTS = 100


class Changing(Exception):
    """The product's affinities changed each time they were looked at; it is tried again later."""


class Neighbour(EmbeddedDocument):
    product_id = StringField(required=True)
    count = IntField(required=True)
    error = IntField(required=True, default=0)

    @property
    def certain(self) -> int:
        """Orders with both, at least."""
        return self.count - self.error


class Affinity(Document):
    meta: ClassVar[dict[str, Any]] = {"collection": "affinities", "auto_create_index": False, "strict": False}

    id = StringField(primary_key=True)
    """The product's."""
    orders = IntField(required=True, default=0)
    neighbours = EmbeddedDocumentListField(Neighbour)
    counted = ListField(StringField())
    """Ids of the last orders in this."""

    @classmethod
    def count(cls, product_id: str, others: Iterable[str], order_id: str) -> None:
        """One more order had the product together with `others`; the same order again counts once. Raises Changing."""
        for _ in range(ATTEMPTS):
            known = cls.objects(id=product_id).first() or cls._first(product_id)
            if order_id in known.counted or known._add(others, order_id):
                return
        raise Changing(f"What is bought with {product_id} changed whenever it was looked at.")

    @classmethod
    def _first(cls, product_id: str) -> "Affinity":
        try:
            return cls(id=product_id).save(force_insert=True)
        except NotUniqueError:
            return cls.objects.get(id=product_id)

    def _add(self, others: Iterable[str], order_id: str) -> bool:
        neighbours = counted_with(self.neighbours, others)
        counted = [*self.counted, order_id][-REMEMBERED:]
        # Every change increases `orders`, so nothing that happened since this was read is overwritten.
        unchanged = Affinity.objects(id=self.id, orders=self.orders)
        return unchanged.update_one(inc__orders=1, set__neighbours=neighbours, set__counted=counted) == 1


def counted_with(neighbours: Iterable[Neighbour], others: Iterable[str], most: int = MAX_NEIGHBOURS) -> list[Neighbour]:
    """`neighbours` after one more order had `others`."""
    known = {each.product_id: each for each in neighbours}
    for other in others:
        if other in known:
            known[other].count += 1
        elif len(known) < most:
            known[other] = Neighbour(product_id=other, count=1)
        else:
            least = min(known.values(), key=lambda each: each.count)
            del known[least.product_id]
            known[other] = Neighbour(product_id=other, count=least.count + 1, error=least.count)
    return list(known.values())
