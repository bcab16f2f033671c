"""Commands and events about stock."""

from dataclasses import dataclass
from uuid import UUID

from chassis.messaging.message import Message
from contracts.reasons import Reason, coded


@dataclass(frozen=True)
class ReserveStock(Message, type="stock.reserve"):
    order_id: UUID
    quantities: dict[UUID, int]
    """Units by product, all or none."""


@dataclass(frozen=True)
class StockReserved(Message, type="stock.reserved"):
    order_id: UUID


@dataclass(frozen=True)
class StockRefused(Message, type="stock.refused", upcasters=(coded(),)):
    order_id: UUID
    product_id: UUID
    reason: Reason


@dataclass(frozen=True)
class CommitStock(Message, type="stock.commit"):
    """StockRefused if the hold expired and the units are gone."""

    order_id: UUID


@dataclass(frozen=True)
class StockCommitted(Message, type="stock.committed"):
    order_id: UUID


@dataclass(frozen=True)
class ReleaseStock(Message, type="stock.release"):
    """Also refuses a later reservation."""

    order_id: UUID


@dataclass(frozen=True)
class StockReleased(Message, type="stock.released"):
    order_id: UUID


@dataclass(frozen=True)
class RestockStock(Message, type="stock.restock"):
    """Put a sold order's units back on hand, once."""

    order_id: UUID


@dataclass(frozen=True)
class StockRestocked(Message, type="stock.restocked"):
    order_id: UUID


@dataclass(frozen=True)
class StockLow(Message, type="stock.low"):
    """Once per fall to the threshold or below."""

    product_id: UUID
    sku: str
    on_hand: int
    threshold: int
