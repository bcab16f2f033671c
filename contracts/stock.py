"""Commands to the products service about stock, and what it publishes."""

from dataclasses import dataclass
from uuid import UUID

from chassis.messaging.message import Message
from contracts.reasons import Reason, coded


@dataclass(frozen=True)
class ReserveStock(Message, type="stock.reserve"):
    order_id: UUID
    quantities: dict[UUID, int]
    """Units of each product: all or none."""


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
    """Sell what is held. The reply is StockRefused where the hold has expired and the units are gone."""

    order_id: UUID


@dataclass(frozen=True)
class StockCommitted(Message, type="stock.committed"):
    order_id: UUID


@dataclass(frozen=True)
class ReleaseStock(Message, type="stock.release"):
    """Release what is held, and refuse what may be reserved later."""

    order_id: UUID


@dataclass(frozen=True)
class StockReleased(Message, type="stock.released"):
    order_id: UUID


@dataclass(frozen=True)
class RestockStock(Message, type="stock.restock"):
    """Put the units of a sold order back on hand, once however often this arrives."""

    order_id: UUID


@dataclass(frozen=True)
class StockRestocked(Message, type="stock.restocked"):
    order_id: UUID


@dataclass(frozen=True)
class StockLow(Message, type="stock.low"):
    """Units on hand fell to the product's threshold or below; published once per fall."""

    product_id: UUID
    sku: str
    on_hand: int
    threshold: int
