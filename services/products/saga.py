"""Stock in the life of an order: reserve all its lines or none, then sell them or put them back; take back what was sold.

The reservation decides first, the products follow. A message that comes again, after a crash anywhere, finds the decision
and does what is left of it, so each handler ends in `settle`.
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
EXPIRED_HOLDS = Counter("souk_stock_holds_expired_total", "Orders whose hold ended by itself")

STOCK = Stock()

OVERDUE_AT_ONCE = 100


def reserve(order_id: UUID, quantities: Mapping[UUID, int], stock: Stock = STOCK) -> None:
    """Raises what Reservation.begin and Stock.hold raise."""
    reservation = Reservation.begin(order_id, quantities, _lasts())
    if reservation.state == RESERVING:
        hold_all(reservation, stock)
    else:
        settle(reservation, stock)


def commit(order_id: UUID, stock: Stock = STOCK) -> None:
    """Raises what Reservation.commit and Stock.hold raise."""
    reservation = Reservation.commit(order_id, _lasts())
    if reservation.state == RECLAIMING:
        hold_all(reservation, stock)
    else:
        settle(reservation, stock)


def release(order_id: UUID, stock: Stock = STOCK) -> None:
    """Raises what Reservation.release raises."""
    settle(Reservation.release(order_id), stock)


def restock(order_id: UUID, stock: Stock = STOCK) -> None:
    """Raises what Reservation.restock and Stock.restock raise."""
    settle(Reservation.restock(order_id), stock)


def expire(stock: Stock = STOCK) -> None:
    """Put back what was held for too long. Nobody is told: whoever still wants it asks for it, and is answered then."""
    for reservation in Reservation.overdue(OVERDUE_AT_ONCE):
        if reservation.expire():
            EXPIRED_HOLDS.inc()
            log.info("hold expired", order_id=reservation.order_id, was=reservation.state)
            reservation.state = EXPIRED
            settle(reservation, stock)
            reservation.rest()


def hold_all(reservation: Reservation, stock: Stock) -> None:
    """Hold every line and promise it, or, where one cannot be held, none."""
    refusal = hold(reservation, stock)
    if refusal is None:
        if reservation.keep() and reservation.state == RESERVING:
            return
    elif reservation.refuse(*refusal):
        REFUSALS.labels(refusal[1]).inc()
        log.info("stock refused", order_id=reservation.order_id, product_id=refusal[0], reason=refusal[1])
    settle(reservation.reload(), stock)


def hold(reservation: Reservation, stock: Stock) -> tuple[str, str] | None:
    """Hold line by line, up to the first that cannot be: then its product and the reason."""
    for line in reservation.lines:
        reason = stock.hold(line.product_id, reservation.order_id, reservation.attempt, line.quantity)
        if reason is not None:
            return line.product_id, reason
    return None


def settle(reservation: Reservation, stock: Stock) -> None:
    """Bring the products to what the reservation says. While it is being made, that is its newest attempt's work."""
    order_id, attempt, state = reservation.order_id, reservation.attempt, reservation.state
    for line in reservation.lines:
        if state in (REFUSED, RELEASED):
            stock.put_back(line.product_id, order_id, line.quantity)
        if state == EXPIRED:
            # Only up to this attempt: the order may meanwhile be holding again.
            stock.put_back(line.product_id, order_id, line.quantity, before=attempt + 1)
        if state in (COMMITTED, RESTOCKED):
            stock.sell(line.product_id, order_id, attempt, line.quantity)
        if state == RESTOCKED:
            stock.restock(line.product_id, order_id, line.quantity)
        if state in (RESERVED, COMMITTED, RESTOCKED) and attempt > 1:
            # A delivery that was overtaken may have held pieces after the newest attempt's were sold.
            stock.put_back(line.product_id, order_id, line.quantity, before=attempt)


def _lasts() -> timedelta:
    return timedelta(seconds=Settings.current().hold_seconds)
