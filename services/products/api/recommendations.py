"""/products/recommendations and /products/{id}/recommendations."""

from collections.abc import Sequence
from uuid import UUID

from chassis.security import auth
from chassis.web.api import Resource, endpoint
from chassis.web.schemas import Rendered
from services.products import recommendations
from services.products.api.caching import cached_list
from services.products.api.products import visible_product
from services.products.recommendations import Recommendation
from services.products.schemas import RecommendationQuery, RecommendationsView, RecommendationView
from services.products.search.finder import Finder, finder


class ProductRecommendations(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, product_id: UUID, query: RecommendationQuery) -> Rendered[RecommendationsView]:
        """What others bought with this product, best first; then best sellers."""

        def found(finder: Finder) -> RecommendationsView:
            category = visible_product(product_id).category
            return _view(recommendations.for_product(finder, str(product_id), category, query.limit))

        return cached_list(query, found)


class OwnRecommendations(Resource):
    @endpoint(allow=auth.CUSTOMER)
    def get(self, query: RecommendationQuery) -> RecommendationsView:
        """What goes with the caller's purchases, best first; then best sellers."""
        user_id = auth.caller().user_id
        assert user_id is not None
        current = finder()
        current.refresh(is_changed=False)
        return _view(recommendations.for_customer(current, user_id, query.limit))


def _view(found: Sequence[Recommendation]) -> RecommendationsView:
    return RecommendationsView(items=[RecommendationView.model_validate(each) for each in found])
