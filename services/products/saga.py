"""Stock in the life of an order: reserve all its lines or none, then sell them or put them back.

The reservation decides first, the products follow. A message that comes again, after a crash anywhere, finds the decision
and does what is left of it, so each handler ends in `settle`.
"""

from collections.abc import Mapping
from uuid import UUID

from structlog import get_logger

from chassis.inbox import Listener
from chassis.messages import CommitStock, ReleaseStock, ReserveStock
from services.products.models import Reservation, Stock
from services.products.models.reservation import COMMITTED, REFUSED, RELEASED, RESERVED, RESERVING

log = get_logger(__name__)

listener = Listener("products")
STOCK = Stock()


@listener.on(ReserveStock)
def reserve_stock(command: ReserveStock) -> None:
    reserve(command.order_id, command.quantities)


@listener.on(CommitStock)
def commit_stock(command: CommitStock) -> None:
    commit(command.order_id)


@listener.on(ReleaseStock)
def release_stock(command: ReleaseStock) -> None:
    release(command.order_id)


def reserve(order_id: UUID, quantities: Mapping[UUID, int], stock: Stock = STOCK) -> None:
    """Raises what Reservation.begin raises."""
    reservation = Reservation.begin(order_id, quantities)
    if reservation.state != RESERVING:
        reservation.answer_again()
        settle(reservation, stock)
        return
    refusal = hold(reservation, stock)
    if refusal is None:
        if reservation.keep():
            return
    elif reservation.refuse(*refusal):
        log.info("stock refused", order_id=str(order_id), product_id=refusal[0], reason=refusal[1])
    settle(reservation.reload(), stock)


def commit(order_id: UUID, stock: Stock = STOCK) -> None:
    """Raises what Reservation.commit raises."""
    settle(Reservation.commit(order_id), stock)


def release(order_id: UUID, stock: Stock = STOCK) -> None:
    """Raises what Reservation.release raises."""
    settle(Reservation.release(order_id), stock)


def hold(reservation: Reservation, stock: Stock) -> tuple[str, str] | None:
    """Hold line by line, up to the first that cannot be: then its product and the reason."""
    for line in reservation.lines:
        reason = stock.hold(line.product_id, reservation.order_id, reservation.attempt, line.quantity)
        if reason is not None:
            return line.product_id, reason
    return None


def settle(reservation: Reservation, stock: Stock) -> None:
    """Bring the products to what the reservation says. While it is being made, that is its newest attempt's work."""
    order_id, attempt = reservation.order_id, reservation.attempt
    for line in reservation.lines:
        if reservation.state in (REFUSED, RELEASED):
            stock.put_back(line.product_id, order_id, line.quantity)
        if reservation.state == COMMITTED:
            stock.sell(line.product_id, order_id, attempt, line.quantity)
        if reservation.state in (RESERVED, COMMITTED) and attempt > 1:
            # A delivery that was overtaken may have held pieces after the newest attempt's were sold.
            stock.put_back(line.product_id, order_id, line.quantity, before=attempt)
