"""The reviews service."""

from chassis.run.service import Routes, Service
from services.reviews.handlers import handlers
from services.reviews.settings import Settings


def routes() -> Routes:
    from services.reviews.api.routes import ROUTES

    return ROUTES


service = Service(
    name="reviews",
    settings_class=Settings,
    routes=routes,
    handlers=handlers,
    title="Reviews",
    about="Add, list and publish reviews.",
)
