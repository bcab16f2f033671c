"""An order's reservation: coordinates its holds, deduplicates its commands, carries the unsent reply.

It decides in one atomic update; products follow, with retries. It is kept long (`purge`), so a release that arrives before
its order is remembered.
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

from chassis.base.clock import LEEWAY
from chassis.base.problems import Conflict, Invalid
from chassis.messaging.message import Message
from chassis.storage import mongo
from contracts.reasons import Reason
from contracts.stock import StockCommitted, StockRefused, StockReleased, StockReserved, StockRestocked

RESERVING = "reserving"
RESERVED = "reserved"
REFUSED = "refused"
EXPIRED = "expired"
"""The hold timed out; the order may hold again."""
RECLAIMING = "reclaiming"
"""Expired, then committed: held again to be sold."""
COMMITTED = "committed"
RELEASED = "released"
RESTOCKED = "restocked"

HOLDING = (RESERVING, RESERVED, RECLAIMING)
SETTLED = (REFUSED, EXPIRED, COMMITTED, RELEASED, RESTOCKED)


class AlreadySold(Conflict):
    type, title = "/problems/stock-already-sold", "Stock already sold"


class AlreadyReleased(Conflict):
    type, title = "/problems/stock-already-released", "Stock already released"


class TooEarly(Exception):
    """Message out of order; retried later."""


class Overtaken(Exception):
    """By a concurrent delivery; retried later."""


class Line(EmbeddedDocument):
    product_id = StringField(required=True)
    quantity = IntField(required=True)


class Reservation(Document):
    meta: ClassVar[dict[str, Any]] = {
        "collection": "reservations",
        "auto_create_index": False,
        "strict": False,
        "indexes": ["created_at", {"fields": ["expires_at"], "sparse": True}],
    }

    order_id = StringField(primary_key=True)
    state = StringField(required=True)
    lines = EmbeddedDocumentListField(Line)
    """Sorted by product id, the order handlers use."""
    attempt = IntField(required=True, default=0)
    """Grows per delivery that works on the holds; only the newest counts."""
    expires_at = DateTimeField()
    """None once nothing is held."""
    refused_product_id = StringField()
    reason = StringField()
    unsent = ListField(DictField())
    created_at = DateTimeField(required=True)
    updated_at = DateTimeField(required=True)

    @classmethod
    def begin(cls, order_id: UUID, quantities: Mapping[UUID, int], hold_time: timedelta) -> "Reservation":
        """Create it, or start a new attempt while reserving.

        Raises Invalid for impossible quantities, and Overtaken.
        """
        if not quantities or min(quantities.values()) < 1:
            raise Invalid(f"The order {order_id} has no lines, or a quantity below one.")
        ordered = sorted((str(product_id), quantity) for product_id, quantity in quantities.items())
        lines = [Line(product_id=product_id, quantity=quantity) for product_id, quantity in ordered]
        created = cls._create(order_id, RESERVING, lines=lines, expires_at=mongo.now() + hold_time)
        if created is not None:
            return created
        reservation = cls._of(order_id)._new_attempt((RESERVING, EXPIRED), RESERVING, hold_time)
        reservation._repeat_reply({RESERVED: StockReserved(order_id), REFUSED: reservation._refusal})
        return reservation

    @classmethod
    def _create(cls, order_id: UUID, state: str, **fields: Any) -> "Reservation | None":
        moment = mongo.now()
        reservation = cls(
            order_id=str(order_id), state=state, attempt=1, created_at=moment, updated_at=moment, **fields
        )
        try:
            return reservation.save(force_insert=True)
        except NotUniqueError:
            return None

    @classmethod
    def _of(cls, order_id: UUID) -> "Reservation":
        """Raises TooEarly."""
        reservation = cls.objects(order_id=str(order_id)).first()
        if reservation is None:
            raise TooEarly(f"The stock of the order {order_id} is not reserved yet.")
        return reservation

    def _new_attempt(self, states: Iterable[str], state: str, hold_time: timedelta) -> "Reservation":
        """Raises Overtaken."""
        if self.state in states:
            unchanged = Reservation.objects(order_id=self.order_id, state=self.state, attempt=self.attempt)
            moment = mongo.now()
            if not unchanged.update_one(
                set__state=state, inc__attempt=1, set__expires_at=moment + hold_time, set__updated_at=moment
            ):
                raise Overtaken(f"The order {self.order_id} is being reserved.")
            self.state, self.attempt = state, self.attempt + 1
        return self

    def confirm(self) -> bool:
        """False if another handler decided first."""
        if self.state == RECLAIMING:
            return self._decide(StockCommitted(UUID(self.order_id)), set__state=COMMITTED, unset__expires_at=1)
        return self._decide(StockReserved(UUID(self.order_id)), set__state=RESERVED)

    def refuse(self, product_id: str, reason: str) -> bool:
        """False if another handler decided first."""
        reply = StockRefused(UUID(self.order_id), UUID(product_id), Reason(reason))
        why = {"set__refused_product_id": product_id, "set__reason": reason}
        return self._decide(reply, set__state=REFUSED, unset__expires_at=1, **why)

    def _decide(self, reply: Message, **decision: Any) -> bool:
        unchanged = Reservation.objects(order_id=self.order_id, state=self.state, attempt=self.attempt)
        return _transition(unchanged, reply, **decision)

    @classmethod
    def commit(cls, order_id: UUID, hold_time: timedelta) -> "Reservation":
        """Sold; or, if expired, reclaiming with a new attempt.

        Raises TooEarly, AlreadyReleased, Overtaken.
        """
        reserved = cls.objects(order_id=str(order_id), state=RESERVED)
        is_new = _transition(reserved, StockCommitted(order_id), set__state=COMMITTED, unset__expires_at=1)
        reservation = cls._of(order_id)
        if reservation.state == RESERVING:
            raise TooEarly(f"The stock of the order {order_id} is not reserved yet.")
        if reservation.state == RELEASED:
            raise AlreadyReleased(f"The stock of the order {order_id} was released.")
        if not is_new:
            reservation._repeat_reply({COMMITTED: StockCommitted(order_id), REFUSED: reservation._refusal})
        return reservation._new_attempt((EXPIRED, RECLAIMING), RECLAIMING, hold_time)

    @classmethod
    def release(cls, order_id: UUID) -> "Reservation":
        """Also before it was reserved. Raises AlreadySold."""
        reply = StockReleased(order_id)
        tombstone = cls._create(order_id, RELEASED, unsent=[mongo.unsent(reply)])
        if tombstone is not None:
            return tombstone
        open_ = cls.objects(order_id=str(order_id), state__in=[*HOLDING, EXPIRED])
        is_new = _transition(open_, reply, set__state=RELEASED, unset__expires_at=1)
        reservation = cls._of(order_id)
        if reservation.state in (COMMITTED, RESTOCKED):
            raise AlreadySold(f"The stock of the order {order_id} is sold.")
        if not is_new:
            reservation._repeat_reply(dict.fromkeys((RELEASED, REFUSED), reply))
        return reservation

    @classmethod
    def restock(cls, order_id: UUID) -> "Reservation":
        """Unchanged if nothing was sold. Raises TooEarly before the sale."""
        reply = StockRestocked(order_id)
        sold = cls.objects(order_id=str(order_id), state=COMMITTED)
        is_new = _transition(sold, reply, set__state=RESTOCKED)
        reservation = cls._of(order_id)
        if reservation.state in (*HOLDING, EXPIRED):
            raise TooEarly(f"The stock of the order {order_id} is not sold yet.")
        if not is_new:
            reservation._repeat_reply(dict.fromkeys((RESTOCKED, REFUSED, RELEASED), reply))
        return reservation

    @classmethod
    def overdue(cls, limit: int) -> QuerySet:
        """Oldest first."""
        return cls.objects(expires_at__lte=mongo.now() - LEEWAY).order_by("expires_at").limit(limit)

    def expire(self) -> bool:
        """False if it changed meanwhile."""
        unchanged = Reservation.objects(
            order_id=self.order_id, state=self.state, attempt=self.attempt, expires_at=self.expires_at
        )
        return _transition(unchanged, set__state=EXPIRED)

    def clear_expiry(self) -> None:
        Reservation.objects(order_id=self.order_id, state=EXPIRED, attempt=self.attempt).update_one(unset__expires_at=1)

    def _repeat_reply(self, replies: Mapping[str, Message | None]) -> None:
        """Unless one is unsent: the first may be lost."""
        if reply := replies.get(self.state):
            sent = Reservation.objects(order_id=self.order_id, state=self.state, unsent__size=0)
            sent.update_one(push__unsent=mongo.unsent(reply))

    @property
    def _refusal(self) -> StockRefused | None:
        if self.state != REFUSED:
            return None
        return StockRefused(UUID(self.order_id), UUID(self.refused_product_id), Reason(self.reason))


def _transition(matching: QuerySet, reply: Message | None = None, **changes: Any) -> bool:
    replied = {"push__unsent": mongo.unsent(reply)} if reply else {}
    return matching.update_one(**replied, **changes, set__updated_at=mongo.now()) == 1
