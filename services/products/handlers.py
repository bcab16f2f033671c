"""Message handlers."""

from chassis.messaging.handlers import Handlers
from contracts.orders import OrderConfirmed
from contracts.stock import CommitStock, ReleaseStock, ReserveStock, RestockStock
from contracts.users import UserDeleted
from services.products import reservations
from services.products.models import Basket, Taste

handlers = Handlers("products")


@handlers.on(ReserveStock)
def reserve_stock(command: ReserveStock) -> None:
    reservations.reserve(command.order_id, command.quantities)


@handlers.on(CommitStock)
def commit_stock(command: CommitStock) -> None:
    reservations.commit(command.order_id)


@handlers.on(ReleaseStock)
def release_stock(command: ReleaseStock) -> None:
    reservations.release(command.order_id)


@handlers.on(RestockStock)
def restock_stock(command: RestockStock) -> None:
    reservations.restock(command.order_id)


@handlers.on(OrderConfirmed)
def order_confirmed(event: OrderConfirmed) -> None:
    Basket.put(event.order_id, event.user_id, [line.product_id for line in event.lines])


@handlers.on(UserDeleted)
def user_deleted(event: UserDeleted) -> None:
    Taste.erase(event.user_id)
