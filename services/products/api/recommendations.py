"""/products/recommendations and /products/{id}/recommendations: what else might please."""

from typing import Self
from uuid import UUID

from pydantic import Field

from chassis import auth
from chassis.api import Query, Resource, View, endpoint
from services.products import recommending
from services.products.api.schemas import ProductView
from services.products.models import Product
from services.products.recommending import Recommendation


class RecommendationQuery(Query):
    limit: int = Field(default=10, ge=1, le=50)


class RecommendationView(View):
    """`because`: bought_together, popular_in_category or popular."""

    because: str
    product: ProductView


class RecommendationsView(View):
    items: list[RecommendationView]

    @classmethod
    def of(cls, recommendations: list[Recommendation]) -> Self:
        return cls(items=[RecommendationView.model_validate(each) for each in recommendations])


class ProductRecommendations(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, product_id: UUID, query: RecommendationQuery) -> RecommendationsView:
        """What others bought together with this product, the best first; then what sells best beside it."""
        product = Product.visible_to(auth.caller(), product_id)
        return RecommendationsView.of(recommending.for_product(product, query.limit))


class OwnRecommendations(Resource):
    @endpoint(allow=auth.CUSTOMER)
    def get(self, query: RecommendationQuery) -> RecommendationsView:
        """What goes with what the caller bought, the best first and nothing of that again; then what sells best."""
        user_id = auth.caller().user_id
        assert user_id is not None
        return RecommendationsView.of(recommending.for_customer(user_id, query.limit))
