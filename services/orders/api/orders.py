"""/orders: place, read, follow, ship and cancel."""

from uuid import UUID, uuid4

from chassis import auth
from chassis.api import Resource, endpoint
from chassis.clients import BadAnswer
from chassis.messages import OrderPlaced
from chassis.paging import Page
from chassis.problems import NotFound
from services.orders import saga
from services.orders.api.schemas import NewOrder, NewStatus, OrderPage, OrderView, Timeline
from services.orders.models import Event, Order
from services.orders.quote import Quote, quote


class Orders(Resource):
    @endpoint(allow=auth.CUSTOMER)
    def get(self, query: Page) -> OrderPage:
        """The caller's orders, newest first; everybody's for staff."""
        caller = auth.caller()
        return _page(query, None if caller.is_staff else caller.user_id)

    @endpoint(
        allow=auth.CUSTOMER,
        status=201,
        location="/orders/{id}",
        idempotency="required",
        before=quote,
        raises=[BadAnswer],
    )
    def post(self, body: NewOrder, prepared: Quote) -> OrderView:
        """Place an order at today's prices. It is pending until stock and payment have answered."""
        user_id = auth.caller().user_id
        assert user_id is not None
        order = saga.place(
            OrderPlaced(uuid4(), user_id, prepared.lines, prepared.amount, prepared.currency, body.payment_method)
        )
        return OrderView.model_validate(order)


class OneOrder(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, order_id: UUID) -> OrderView:
        """One order: what was bought, at what price, and how it stands."""
        return OrderView.model_validate(Order.visible_to(auth.caller(), order_id))

    @endpoint(allow=auth.OWNER, status=204)
    def delete(self, order_id: UUID) -> None:
        """Cancel the order, which only a pending one can be. Cancelling twice is cancelling once."""
        order = Order.visible_to(auth.caller(), order_id, for_update=True)
        if not order.is_cancelled:
            saga.cancel(order, "Cancelled by the customer.")


class Status(Resource):
    @endpoint(allow=auth.STAFF)
    def put(self, order_id: UUID, body: NewStatus) -> OrderView:
        """Ship, deliver or cancel, each in its turn."""
        order = Order.locked(order_id)
        match body.status:
            case "shipped":
                saga.ship(order)
            case "delivered":
                saga.deliver(order)
            case "cancelled":
                saga.cancel(order, body.reason)
        return OrderView.model_validate(order)


class Events(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, order_id: UUID) -> Timeline:
        """The order's timeline: every step that was asked for, answered or decided, oldest first."""
        order = Order.visible_to(auth.caller(), order_id)
        return Timeline.of(Event.stream_of(order.id))


class UserOrders(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID, query: Page) -> OrderPage:
        """One user's orders, newest first; only that user and staff may look."""
        if not auth.caller().owns(user_id):
            raise NotFound("You have no such user.")
        return _page(query, user_id)


def _page(page: Page, user_id: UUID | None) -> OrderPage:
    orders, following = Order.page(page, user_id)
    return OrderPage(items=[OrderView.model_validate(order) for order in orders], next=following)
