"""The orders service."""

from typing import cast

from sqlalchemy import Table

from chassis.run.service import Routes, Service, Timer
from services.orders import deadlines, projector
from services.orders.models import Event
from services.orders.saga import handlers
from services.orders.settings import Settings


def routes() -> Routes:
    from services.orders.api.routes import ROUTES

    return ROUTES


service = Service(
    name="orders",
    title="Orders",
    about="Place, follow, cancel, ship and refund orders; analytics.",
    settings_class=Settings,
    routes=routes,
    handlers=handlers,
    timers=[Timer(deadlines.EVERY_SECONDS, deadlines.watch), Timer(projector.EVERY_SECONDS, projector.project)],
    events=cast(Table, Event.__table__),
)
