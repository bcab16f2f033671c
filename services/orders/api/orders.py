"""/orders: place, read, track, ship, cancel and refund."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from chassis.base.problems import Forbidden, NotFound, PreconditionFailed
from chassis.clients import BadResponse
from chassis.security import auth
from chassis.web import preconditions
from chassis.web.api import Resource, endpoint
from contracts.orders import OrderPlaced
from contracts.reasons import Audience, Note, Reader, Reason
from services.orders import history, saga
from services.orders.history import AllOrdersQuery, OrderQuery
from services.orders.models import Event, Order
from services.orders.quote import PriceRisen, Quote, quote
from services.orders.refund import refund
from services.orders.schemas import (
    NewNote,
    NewOrder,
    NewRefund,
    NewStatus,
    OrderPage,
    OrderView,
    Timeline,
    TimelineQuery,
)


class Orders(Resource):
    @endpoint(allow=auth.CUSTOMER, may_be_stale=True)
    def get(self, query: AllOrdersQuery) -> OrderPage:
        """Your orders, newest first; for staff, all orders."""
        caller = auth.caller()
        if caller.is_staff:
            return _page(*history.page(query, query.user_id, query.stuck, query.request))
        if query.stuck or query.request or query.user_id not in (None, caller.user_id):
            raise Forbidden("Only staff may search the orders of others.")
        return _page(*history.page(query, caller.user_id))

    @endpoint(
        allow=auth.CUSTOMER,
        status=201,
        location="/orders/{id}",
        idempotency="required",
        before=quote,
        raises=[BadResponse, PriceRisen],
    )
    def post(self, body: NewOrder, prepared: Quote) -> OrderView:
        """Place an order at current prices. It is pending until stock is reserved and the payment approved."""
        user_id = auth.caller().user_id
        assert user_id is not None
        order = saga.place(
            OrderPlaced(uuid4(), user_id, prepared.lines, prepared.amount, prepared.currency, body.payment_method)
        )
        return _view(order)


class OneOrder(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, order_id: UUID) -> OrderView:
        """One order: its items, prices and status."""
        return _view(Order.visible_to(auth.caller(), order_id))

    @endpoint(allow=auth.OWNER, status=204, raises=[PreconditionFailed])
    def delete(self, order_id: UUID) -> None:
        """Cancel an order that has not been shipped; payments are refunded. Repeating it changes nothing."""
        order = Order.visible_to(auth.caller(), order_id, for_update=True)
        preconditions.expect(order.version)
        if not order.is_called_off:
            saga.cancel(order, Reason.CANCELLED_BY_CUSTOMER)


class Status(Resource):
    @endpoint(allow=auth.STAFF, raises=[PreconditionFailed])
    def put(self, order_id: UUID, body: NewStatus) -> OrderView:
        """Mark the order as shipped or delivered, or cancel it; with `If-Match`, only if it has not changed since."""
        order = Order.get_for_update(order_id)
        preconditions.expect(order.version)
        match body.status:
            case "shipped":
                saga.ship(order)
            case "delivered":
                saga.deliver(order)
            case "cancelled":
                saga.cancel(order, Reason(body.reason), _note(body.note))
        return _view(order)


class Refunds(Resource):
    @endpoint(
        allow=auth.STAFF, status=201, location="/orders/{id}", idempotency="required", raises=[PreconditionFailed]
    )
    def post(self, order_id: UUID, body: NewRefund) -> OrderView:
        """Refund all or part of the payment. The order's `refunded_amount` grows once the refund is done."""
        order = Order.get_for_update(order_id)
        preconditions.expect(order.version)
        refund(order, body.amount, _note(body.note))
        return _view(order)


class Events(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, order_id: UUID, query: TimelineQuery) -> Timeline:
        """The order's timeline, oldest event first."""
        caller = auth.caller()
        order = Order.visible_to(caller, order_id)
        return Timeline.of(Event.stream_of(order.id, query.cursor, query.limit), order, Reader.of(caller))


class UserOrders(Resource):
    @endpoint(allow=auth.OWNER, may_be_stale=True)
    def get(self, user_id: UUID, query: OrderQuery) -> OrderPage:
        """A user's orders, newest first. For that user and staff."""
        if not auth.caller().owns(user_id):
            raise NotFound("There is no user with this id.")
        return _page(*history.page(query, user_id))


def _view(order: Order) -> OrderView:
    return OrderView.of(order, Reader.of(auth.caller()))


def _page(orders: Sequence[Order], following: str | None) -> OrderPage:
    return OrderPage(items=[_view(order) for order in orders], next=following)


def _note(body: NewNote | None) -> Note | None:
    return Note(body.text, Audience(body.audience)) if body is not None else None
