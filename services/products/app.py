"""The products service: the catalogue, and stock that is never sold twice."""

from chassis.service import Service
from services.products.saga import listener
from services.products.settings import Settings

service = Service(
    name="products",
    settings_class=Settings,
    routes="services.products.api.routes",
    listener=listener,
    collection="reservations",
)
