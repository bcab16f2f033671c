"""The products service: catalogue and stock."""

from chassis.run.service import Routes, Service, Timer
from services.products import purge, recommendations, reservations
from services.products.handlers import handlers
from services.products.models import ledger
from services.products.settings import Settings


def routes() -> Routes:
    from services.products.api.routes import ROUTES

    return ROUTES


service = Service(
    name="products",
    title="Catalogue",
    about="Search, products, stock, recommendations.",
    settings_class=Settings,
    routes=routes,
    handlers=handlers,
    timers=[
        Timer(1, ledger.post),
        Timer(5, reservations.expire),
        Timer(5, recommendations.learn),
        Timer(3_600, purge.purge),
    ],
    collections=["reservations", "stock_ledger"],
)
