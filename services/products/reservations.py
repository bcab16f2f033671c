"""Stock in the life of an order: reserve all lines or none, sell, release, restock.

The reservation decides, products follow; a redelivered message finishes the rest in `settle`. Tests pass `stock` to
interrupt between moves.
"""

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from prometheus_client import Counter
from structlog import get_logger

from services.products.models import Reservation, Stock
from services.products.models.reservation import (
    COMMITTED,
    EXPIRED,
    RECLAIMING,
    REFUSED,
    RELEASED,
    RESERVED,
    RESERVING,
    RESTOCKED,
)
from services.products.settings import Settings

log = get_logger(__name__)

REFUSALS = Counter("souk_stock_refusals_total", "Orders whose stock was refused", ["reason"])
EXPIRED_HOLDS = Counter("souk_stock_holds_expired_total", "Orders whose hold expired")

STOCK = Stock()

EXPIRY_BATCH = 100


def reserve(order_id: UUID, quantities: Mapping[UUID, int], stock: Stock = STOCK) -> None:
    """Raises what Reservation.begin and Stock.hold raise."""
    reservation = Reservation.begin(order_id, quantities, hold_time())
    if reservation.state == RESERVING:
        hold_all(reservation, stock)
    else:
        settle(reservation, stock)


def commit(order_id: UUID, stock: Stock = STOCK) -> None:
    """Raises what Reservation.commit and Stock.hold raise."""
    reservation = Reservation.commit(order_id, hold_time())
    if reservation.state == RECLAIMING:
        hold_all(reservation, stock)
    else:
        settle(reservation, stock)


def release(order_id: UUID, stock: Stock = STOCK) -> None:
    settle(Reservation.release(order_id), stock)


def restock(order_id: UUID, stock: Stock = STOCK) -> None:
    """Raises what Reservation.restock and Stock.restock raise."""
    settle(Reservation.restock(order_id), stock)


def expire(stock: Stock = STOCK) -> None:
    """Without a message: the order's next command gets a reply."""
    for reservation in Reservation.overdue(EXPIRY_BATCH):
        if reservation.expire():
            EXPIRED_HOLDS.inc()
            log.info("hold expired", order_id=reservation.order_id, was=reservation.state)
            reservation.state = EXPIRED
            settle(reservation, stock)
            reservation.clear_expiry()


def hold_all(reservation: Reservation, stock: Stock) -> None:
    refusal = hold(reservation, stock)
    if refusal is None:
        if reservation.confirm() and reservation.state == RESERVING:
            return
    elif reservation.refuse(*refusal):
        REFUSALS.labels(refusal[1]).inc()
        log.info("stock refused", order_id=reservation.order_id, product_id=refusal[0], reason=refusal[1])
    settle(reservation.reload(), stock)


def hold(reservation: Reservation, stock: Stock) -> tuple[str, str] | None:
    for line in reservation.lines:
        reason = stock.hold(line.product_id, reservation.order_id, reservation.attempt, line.quantity)
        if reason is not None:
            return line.product_id, reason
    return None


def settle(reservation: Reservation, stock: Stock) -> None:
    order_id, attempt, state = reservation.order_id, reservation.attempt, reservation.state
    for line in reservation.lines:
        if state in (REFUSED, RELEASED):
            stock.put_back(line.product_id, order_id, line.quantity)
        if state == EXPIRED:
            # The order may be holding again.
            stock.put_back(line.product_id, order_id, line.quantity, before=attempt + 1)
        if state in (COMMITTED, RESTOCKED):
            stock.sell(line.product_id, order_id, attempt, line.quantity)
        if state == RESTOCKED:
            stock.restock(line.product_id, order_id, line.quantity)
        if state in (RESERVED, COMMITTED, RESTOCKED) and attempt > 1:
            # An overtaken delivery may have held units after the sale.
            stock.put_back(line.product_id, order_id, line.quantity, before=attempt)


def hold_time() -> timedelta:
    return timedelta(seconds=Settings.current().hold_seconds)
