"""/products/recommendations and /products/{id}/recommendations: what else might please."""

from uuid import UUID

from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.products import reading
from services.products.schemas import RecommendationQuery, RecommendationsView


class ProductRecommendations(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, product_id: UUID, query: RecommendationQuery) -> RecommendationsView:
        """What others bought together with this product, the best first; then what sells best beside it."""
        return reading.recommendations(product_id, query)


class OwnRecommendations(Resource):
    @endpoint(allow=auth.CUSTOMER)
    def get(self, query: RecommendationQuery) -> RecommendationsView:
        """What goes with what the caller bought, the best first and nothing of that again; then what sells best."""
        return reading.own_recommendations(query)
