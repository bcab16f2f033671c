"""What one order was promised of the stock: the coordinator of its holds, and inbox and outbox of the answers.

There is no transaction over several products. The reservation decides, in one update that also carries the unsent
answer; the products follow, one by one, as often as it takes. It is never deleted, so it also remembers a release that
came before its order.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
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
    QuerySet,
    StringField,
)
from mongoengine.errors import NotUniqueError

from chassis.base.problems import Conflict, Invalid
from chassis.messaging.message import Message
from chassis.storage import mongo
from contracts.stock import StockCommitted, StockRefused, StockReleased, StockReserved, StockRestocked

RESERVING = "reserving"
RESERVED = "reserved"
REFUSED = "refused"
EXPIRED = "expired"
"""Its hold ended by itself. Whoever asks for it again may have it, if the pieces are still there."""
RECLAIMING = "reclaiming"
"""Expired, but then sold: held again for that."""
COMMITTED = "committed"
RELEASED = "released"
RESTOCKED = "restocked"

HOLDING = (RESERVING, RESERVED, RECLAIMING)
"""The states in which pieces are, or may be, held."""


class AlreadySold(Conflict):
    type, title = "/problems/stock-already-sold", "What was sold cannot be released"


class AlreadyReleased(Conflict):
    type, title = "/problems/stock-already-released", "What was released cannot be sold"


class TooEarly(Exception):
    """A message overtook the one that goes before it, and is tried again."""


class Overtaken(Exception):
    """Another delivery of the command took over in this very moment; this one looks again later."""


class Line(EmbeddedDocument):
    product_id = StringField(required=True)
    quantity = IntField(required=True)


class Reservation(Document):
    meta: ClassVar[dict[str, Any]] = {
        "collection": "reservations",
        "auto_create_index": False,
        "strict": False,
        "indexes": [{"fields": ["expires_at"], "sparse": True}],
    }

    order_id = StringField(primary_key=True)
    state = StringField(required=True)
    lines = EmbeddedDocumentListField(Line)
    """In the order of their product ids, in which every handler walks them."""
    attempt = IntField(required=True, default=0)
    """Grows with each delivery that works on the holds, so that only the newest one's count."""
    expires_at = DateTimeField()
    """When it is to be looked at if nothing happens; none once nothing is held."""
    refused_product_id = StringField()
    reason = StringField()
    unsent = ListField(DictField())
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)

    @classmethod
    def begin(cls, order_id: UUID, quantities: Mapping[UUID, int], lasts: timedelta) -> "Reservation":
        """The order's reservation; while it is being made, with a new attempt that is the caller's.

        Raises Invalid for quantities that no order has, Overtaken when two deliveries want the attempt at once.
        """
        if not quantities or min(quantities.values()) < 1:
            raise Invalid(f"The order {order_id} asks for nothing, or for less than one piece.")
        wanted = sorted((str(product_id), quantity) for product_id, quantity in quantities.items())
        lines = [Line(product_id=product_id, quantity=quantity) for product_id, quantity in wanted]
        first = cls._first(order_id, RESERVING, lines=lines, expires_at=mongo.now() + lasts)
        if first is not None:
            return first
        known = cls._of(order_id)._again((RESERVING, EXPIRED), RESERVING, lasts)
        known._say_again({RESERVED: StockReserved(order_id), REFUSED: known._refusal})
        return known

    @classmethod
    def _first(cls, order_id: UUID, state: str, **fields: Any) -> "Reservation | None":
        moment = mongo.now()
        first = cls(order_id=str(order_id), state=state, attempt=1, created_at=moment, updated_at=moment, **fields)
        try:
            return first.save(force_insert=True)
        except NotUniqueError:
            return None

    @classmethod
    def _of(cls, order_id: UUID) -> "Reservation":
        """Raises TooEarly when there is none."""
        known = cls.objects(order_id=str(order_id)).first()
        if known is None:
            raise TooEarly(f"The stock of the order {order_id} is not reserved yet.")
        return known

    def _again(self, states: Iterable[str], state: str, lasts: timedelta) -> "Reservation":
        """This, in `state` with a new attempt that is the caller's, if it is in one of `states`. Raises Overtaken."""
        if self.state in states:
            mine = Reservation.objects(order_id=self.order_id, state=self.state, attempt=self.attempt)
            moment = mongo.now()
            if not mine.update_one(
                set__state=state, inc__attempt=1, set__expires_at=moment + lasts, set__updated_at=moment
            ):
                raise Overtaken(f"The order {self.order_id} is being reserved.")
            self.state, self.attempt = state, self.attempt + 1
        return self

    def keep(self) -> bool:
        """Every line is held: promise it, or sell it. False when meanwhile another handler decided or took over."""
        if self.state == RECLAIMING:
            return self._decide(StockCommitted(UUID(self.order_id)), set__state=COMMITTED, unset__expires_at=1)
        return self._decide(StockReserved(UUID(self.order_id)), set__state=RESERVED)

    def refuse(self, product_id: str, reason: str) -> bool:
        """One line cannot be held, so none is. False when meanwhile another handler decided or took over."""
        answer = StockRefused(UUID(self.order_id), UUID(product_id), reason)
        why = {"set__refused_product_id": product_id, "set__reason": reason}
        return self._decide(answer, set__state=REFUSED, unset__expires_at=1, **why)

    def _decide(self, answer: Message, **decision: Any) -> bool:
        mine = Reservation.objects(order_id=self.order_id, state=self.state, attempt=self.attempt)
        return _became(mine, answer, **decision)

    @classmethod
    def commit(cls, order_id: UUID, lasts: timedelta) -> "Reservation":
        """The order's reservation, sold; or, if it had expired, being held again with an attempt that is the caller's.

        Raises TooEarly, AlreadyReleased when it was called off, and Overtaken.
        """
        reserved = cls.objects(order_id=str(order_id), state=RESERVED)
        is_new = _became(reserved, StockCommitted(order_id), set__state=COMMITTED, unset__expires_at=1)
        known = cls._of(order_id)
        if known.state == RESERVING:
            raise TooEarly(f"The stock of the order {order_id} is not reserved yet.")
        if known.state == RELEASED:
            raise AlreadyReleased(f"The stock of the order {order_id} was released.")
        if not is_new:
            known._say_again({COMMITTED: StockCommitted(order_id), REFUSED: known._refusal})
        return known._again((EXPIRED, RECLAIMING), RECLAIMING, lasts)

    @classmethod
    def release(cls, order_id: UUID) -> "Reservation":
        """The order's reservation, called off, even if it was not asked for yet. Raises AlreadySold."""
        answer = StockReleased(order_id)
        tombstone = cls._first(order_id, RELEASED, unsent=[mongo.unsent(answer)])
        if tombstone is not None:
            return tombstone
        open_ = cls.objects(order_id=str(order_id), state__in=[*HOLDING, EXPIRED])
        is_new = _became(open_, answer, set__state=RELEASED, unset__expires_at=1)
        known = cls._of(order_id)
        if known.state in (COMMITTED, RESTOCKED):
            raise AlreadySold(f"The stock of the order {order_id} is sold.")
        if not is_new:
            known._say_again(dict.fromkeys((RELEASED, REFUSED), answer))
        return known

    @classmethod
    def restock(cls, order_id: UUID) -> "Reservation":
        """The order's reservation, with what was sold on its way back; nothing is, of what was not sold after all.

        Raises TooEarly before the sale.
        """
        answer = StockRestocked(order_id)
        sold = cls.objects(order_id=str(order_id), state=COMMITTED)
        is_new = _became(sold, answer, set__state=RESTOCKED)
        known = cls._of(order_id)
        if known.state in (*HOLDING, EXPIRED):
            raise TooEarly(f"The stock of the order {order_id} is not sold yet.")
        if not is_new:
            known._say_again(dict.fromkeys((RESTOCKED, REFUSED, RELEASED), answer))
        return known

    @classmethod
    def overdue(cls, most: int) -> QuerySet:
        """Reservations to be looked at by now, the oldest first."""
        return cls.objects(expires_at__lte=mongo.now()).order_by("expires_at").limit(most)

    def expire(self) -> bool:
        """End a hold that lasted too long. False when meanwhile something happened to it."""
        mine = Reservation.objects(
            order_id=self.order_id, state=self.state, attempt=self.attempt, expires_at=self.expires_at
        )
        return _became(mine, set__state=EXPIRED)

    def rest(self) -> None:
        """Nothing is held any more for what has expired: it need not be looked at again."""
        Reservation.objects(order_id=self.order_id, state=EXPIRED, attempt=self.attempt).update_one(unset__expires_at=1)

    def _say_again(self, answers: Mapping[str, Message | None]) -> None:
        """Give the answer that fits the state once more, unless it still waits: who asks again did not hear."""
        if answer := answers.get(self.state):
            heard = Reservation.objects(order_id=self.order_id, state=self.state, unsent__size=0)
            heard.update_one(push__unsent=mongo.unsent(answer))

    @property
    def _refusal(self) -> StockRefused | None:
        if self.state != REFUSED:
            return None
        return StockRefused(UUID(self.order_id), UUID(self.refused_product_id), self.reason)


def _became(matching: QuerySet, *answers: Message, **changes: Any) -> bool:
    """Change the one reservation that matches, and say so, in one update; whether there was one."""
    said = {"push__unsent": mongo.unsent(answers[0])} if answers else {}
    return matching.update_one(**said, **changes, set__updated_at=mongo.now()) == 1
