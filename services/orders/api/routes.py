"""Every URL of the orders service."""

from services.orders.api.analytics import Analytics
from services.orders.api.orders import Events, OneOrder, Orders, Refunds, Status, UserOrders
from services.orders.operations import Compensate, Resume, Saga

ROUTES = {
    "/orders/": Orders,
    "/orders/analytics": Analytics,
    "/orders/<uuid:order_id>": OneOrder,
    "/orders/<uuid:order_id>/status": Status,
    "/orders/<uuid:order_id>/events": Events,
    "/orders/<uuid:order_id>/refunds": Refunds,
    "/orders/user/<uuid:user_id>": UserOrders,
    "/operations/sagas/<uuid:order_id>": Saga,
    "/operations/sagas/<uuid:order_id>/resume": Resume,
    "/operations/sagas/<uuid:order_id>/compensate": Compensate,
}
