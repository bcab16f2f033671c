"""The orders service: what it serves, hears and keeps."""

from typing import cast

from sqlalchemy import Table

from chassis.service import Service
from services.orders.api.orders import Events, OneOrder, Orders, Status, UserOrders
from services.orders.models import Event
from services.orders.saga import listener
from services.orders.settings import Settings

service = Service(
    name="orders",
    settings_class=Settings,
    routes={
        "/orders/": Orders,
        "/orders/<uuid:order_id>": OneOrder,
        "/orders/<uuid:order_id>/status": Status,
        "/orders/<uuid:order_id>/events": Events,
        "/orders/user/<uuid:user_id>": UserOrders,
    },
    listener=listener,
    outbox=cast(Table, Event.__table__),
)
