"""What products hears: orders' commands about stock, and what recommendations learn from."""

from chassis.listener import Listener
from chassis.messages import CommitStock, OrderConfirmed, ReleaseStock, ReserveStock, RestockStock, UserDeleted
from services.products import recommending, saga
from services.products.models import Taste

listener = Listener("products")


@listener.on(ReserveStock)
def reserve_stock(command: ReserveStock) -> None:
    saga.reserve(command.order_id, command.quantities)


@listener.on(CommitStock)
def commit_stock(command: CommitStock) -> None:
    saga.commit(command.order_id)


@listener.on(ReleaseStock)
def release_stock(command: ReleaseStock) -> None:
    saga.release(command.order_id)


@listener.on(RestockStock)
def restock_stock(command: RestockStock) -> None:
    saga.restock(command.order_id)


@listener.on(OrderConfirmed)
def order_confirmed(event: OrderConfirmed) -> None:
    recommending.learn(event.order_id, event.user_id, [line.product_id for line in event.lines])


@listener.on(UserDeleted)
def user_deleted(event: UserDeleted) -> None:
    Taste.forget(event.user_id)
