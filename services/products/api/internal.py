"""/internal/products, for other services."""

from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.products import schemas
from services.products.models import Product
from services.products.models.product import INTERNAL
from services.products.schemas import QuoteQuery, QuoteView


class Quotes(Resource):
    @endpoint(allow=auth.service("orders"))
    def get(self, query: QuoteQuery) -> schemas.Quotes:
        """Current name and price of each product that exists, on sale or not."""
        found = Product.objects(id__in=[str(product_id) for product_id in query.ids]).exclude(*INTERNAL)
        return schemas.Quotes(items=[QuoteView.of(product) for product in found])
