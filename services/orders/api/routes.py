"""Every URL of the orders service."""

from services.orders.api.orders import Events, OneOrder, Orders, Status, UserOrders

ROUTES = {
    "/orders/": Orders,
    "/orders/<uuid:order_id>": OneOrder,
    "/orders/<uuid:order_id>/status": Status,
    "/orders/<uuid:order_id>/events": Events,
    "/orders/user/<uuid:user_id>": UserOrders,
}
