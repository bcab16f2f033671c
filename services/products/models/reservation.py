"""What one order was promised of the stock: the coordinator of its holds, and inbox and outbox of the answer.

There is no transaction over several products. The reservation decides, in one update that also carries the unsent
answer; the products follow, one by one, as often as it takes. It is never deleted, so it also remembers a release that
came before its order.
"""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from mongoengine import (
    DateTimeField,
    DictField,
    Document,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    IntField,
    ListField,
    StringField,
)
from mongoengine.errors import NotUniqueError

from chassis import mongo
from chassis.messages import Message, StockRefused, StockReserved
from chassis.problems import Conflict, Invalid

RESERVING = "reserving"
RESERVED = "reserved"
REFUSED = "refused"
RELEASED = "released"
COMMITTED = "committed"


class AlreadySold(Conflict):
    type, title = "/problems/stock-already-sold", "What was sold cannot be released"


class AlreadyReleased(Conflict):
    type, title = "/problems/stock-already-released", "What was refused or released cannot be sold"


class NotYetReserved(Exception):
    """The order's stock is to be sold before it is reserved: a message overtook another, and is tried again."""


class Overtaken(Exception):
    """Another delivery of the command took over in this very moment; this one looks again later."""


class Line(EmbeddedDocument):
    product_id = StringField(required=True)
    quantity = IntField(required=True)


class Reservation(Document):
    meta: ClassVar[dict[str, Any]] = {"collection": "reservations", "auto_create_index": False, "strict": False}

    order_id = StringField(primary_key=True)
    state = StringField(required=True)
    lines = EmbeddedDocumentListField(Line)
    """In the order of their product ids, in which every handler walks them."""
    attempt = IntField(required=True, default=0)
    """Grows with each delivery that works on the holds, so that only the newest one's count."""
    refused_product_id = StringField()
    reason = StringField()
    unsent = ListField(DictField())
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)

    @classmethod
    def begin(cls, order_id: UUID, quantities: Mapping[UUID, int]) -> "Reservation":
        """The order's reservation; while it is being made, with a new attempt that is the caller's.

        Raises Invalid for quantities that no order has, Overtaken when two deliveries want the attempt at once.
        """
        if not quantities or min(quantities.values()) < 1:
            raise Invalid(f"The order {order_id} asks for nothing, or for less than one piece.")
        wanted = sorted((str(product_id), quantity) for product_id, quantity in quantities.items())
        lines = [Line(product_id=product_id, quantity=quantity) for product_id, quantity in wanted]
        return cls._first(order_id, RESERVING, lines) or cls._again(order_id)

    @classmethod
    def _first(cls, order_id: UUID, state: str, lines: list[Line]) -> "Reservation | None":
        moment = mongo.now()
        first = cls(order_id=str(order_id), state=state, lines=lines, attempt=1, created_at=moment, updated_at=moment)
        try:
            return first.save(force_insert=True)
        except NotUniqueError:
            return None

    @classmethod
    def _again(cls, order_id: UUID) -> "Reservation":
        known = cls.objects.get(order_id=str(order_id))
        if known.state == RESERVING:
            mine = cls.objects(order_id=known.order_id, state=RESERVING, attempt=known.attempt)
            if not mine.update_one(inc__attempt=1, set__updated_at=mongo.now()):
                raise Overtaken(f"The order {order_id} is being reserved.")
            known.attempt += 1
        return known

    def keep(self) -> bool:
        """Every line is held: promise it. False when meanwhile another handler decided or took over."""
        return self._decide(StockReserved(UUID(self.order_id)), set__state=RESERVED)

    def refuse(self, product_id: str, reason: str) -> bool:
        """One line cannot be held, so none is. False when meanwhile another handler decided or took over."""
        answer = StockRefused(UUID(self.order_id), UUID(product_id), reason)
        decision = {"set__state": REFUSED, "set__refused_product_id": product_id, "set__reason": reason}
        return self._decide(answer, **decision)

    def _decide(self, answer: Message, **decision: Any) -> bool:
        mine = Reservation.objects(order_id=self.order_id, state=RESERVING, attempt=self.attempt)
        changes = {**decision, "set__updated_at": mongo.now()}
        return bool(mine.update_one(push__unsent=mongo.unsent(answer), **changes))

    def answer_again(self) -> None:
        """Who asks again did not hear; where the order has moved on nobody waits for an answer."""
        if self.state == RESERVED:
            answer: Message = StockReserved(UUID(self.order_id))
        elif self.state == REFUSED:
            answer = StockRefused(UUID(self.order_id), UUID(self.refused_product_id), self.reason)
        else:
            return
        Reservation.objects(order_id=self.order_id, state=self.state, unsent__size=0).update_one(
            push__unsent=mongo.unsent(answer)
        )

    @classmethod
    def release(cls, order_id: UUID) -> "Reservation":
        """The order's reservation, called off, even if it was not asked for yet. Raises AlreadySold."""
        tombstone = cls._first(order_id, RELEASED, [])
        if tombstone is not None:
            return tombstone
        open_ = cls.objects(order_id=str(order_id), state__in=[RESERVING, RESERVED])
        open_.update_one(set__state=RELEASED, set__updated_at=mongo.now())
        known = cls.objects.get(order_id=str(order_id))
        if known.state == COMMITTED:
            raise AlreadySold(f"The stock of the order {order_id} is sold.")
        return known

    @classmethod
    def commit(cls, order_id: UUID) -> "Reservation":
        """The order's reservation, sold. Raises NotYetReserved, or AlreadyReleased when it was refused or called off."""
        reserved = cls.objects(order_id=str(order_id), state=RESERVED)
        reserved.update_one(set__state=COMMITTED, set__updated_at=mongo.now())
        known = cls.objects(order_id=str(order_id)).first()
        if known is None or known.state == RESERVING:
            raise NotYetReserved(f"The stock of the order {order_id} is not reserved yet.")
        if known.state != COMMITTED:
            raise AlreadyReleased(f"The stock of the order {order_id} was {known.state}.")
        return known
