"""What is read of the catalogue: kept for a moment for everybody, fresh for staff, who change what they see.

Orders read none of it: they ask for prices at /internal/products.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar
from uuid import UUID

from flask import Response, after_this_request, request

from chassis.base.problems import Forbidden, NotFound, Unavailable
from chassis.security import auth
from chassis.web import pagination
from chassis.web.schemas import View
from services.products import kept, listing, recommending
from services.products import search as searching
from services.products.app import service
from services.products.finding.choice import finder
from services.products.finding.finder import Finder
from services.products.models import Product
from services.products.recommending import Recommendation
from services.products.schemas import (
    CategoryPage,
    CategoryQuery,
    CategoryView,
    FacetsView,
    ProductFilters,
    ProductPage,
    ProductQuery,
    ProductView,
    RecommendationQuery,
    RecommendationsView,
    RecommendationView,
    SearchPage,
    SearchQuery,
)

V = TypeVar("V", bound=View)


def product(product_id: UUID) -> ProductView:
    """Raises NotFound; what is not on sale is there for staff only."""
    view = _read(kept.key(product_id), ProductView, lambda: _product(product_id))
    if not (view.is_active or auth.caller().is_staff):
        raise NotFound("There is no such product.")
    return view


def _product(product_id: UUID) -> ProductView:
    return ProductView.model_validate(Product.get(product_id))


def products(query: ProductQuery) -> ProductPage:
    _expect_allowed(query)
    return _read_list(ProductPage, lambda finder: _page(finder, query))


def _page(finder: Finder, query: ProductQuery) -> ProductPage:
    rows, following = listing.page(finder, query, query.filters(), query.sort)
    return ProductPage(items=[ProductView.model_validate(row) for row in rows], next=following)


def search(query: SearchQuery) -> SearchPage:
    _expect_allowed(query)
    return _read_list(SearchPage, lambda finder: _found(finder, query))


def _found(finder: Finder, query: SearchQuery) -> SearchPage:
    found = searching.search(finder, query.q, query, query.filters(), query.order)
    facets = searching.facets(finder, found.question, query.filters()) if query.cursor is None else None
    return SearchPage(
        items=[ProductView.model_validate(row) for row in found.products],
        next=found.following,
        corrected=found.question.corrected if found.question else None,
        facets=None if facets is None else FacetsView.of(facets),
    )


def recommendations(product_id: UUID, query: RecommendationQuery) -> RecommendationsView:
    """Raises NotFound as `product` does."""
    shown = product(product_id)

    def beside(finder: Finder) -> RecommendationsView:
        return _recommended(recommending.for_product(finder, str(product_id), shown.category, query.limit))

    return _read_list(RecommendationsView, beside)


def own_recommendations(query: RecommendationQuery) -> RecommendationsView:
    """Those of the caller, always made afresh."""
    user_id = auth.caller().user_id
    assert user_id is not None
    chosen = finder()
    chosen.refresh(is_changed=False)
    return _recommended(recommending.for_customer(chosen, user_id, query.limit))


def _recommended(found: Sequence[Recommendation]) -> RecommendationsView:
    return RecommendationsView(items=[RecommendationView.model_validate(each) for each in found])


def categories(query: CategoryQuery) -> CategoryPage:
    return _read_list(CategoryPage, lambda finder: _categories(finder, query))


def _categories(finder: Finder, query: CategoryQuery) -> CategoryPage:
    last = pagination.decode(query.cursor, 1)[0] if query.cursor else ""
    counted = [pair for pair in finder.categories() if pair[0] > last]
    items = [CategoryView(category=category, products=count) for category, count in counted[: query.limit]]
    return CategoryPage(items=items, next=pagination.encode(items[-1].category) if len(counted) > query.limit else None)


def _expect_allowed(query: ProductFilters) -> None:
    if query.active != "yes" and not auth.caller().is_staff:
        raise Forbidden("Only staff see what is not on sale.")


# --- freshness


def changed(product_ids: Sequence[UUID]) -> None:
    """These were added or changed by the staff: nobody shall be shown what was before."""
    kept.forget(*product_ids)
    kept.forget_lists()
    # The change is made, whatever becomes of this; who reads later looks again.
    with suppress(Unavailable, *service.store.unavailable):
        finder().learn([product.to_mongo().to_dict() for product in Product.objects(id__in=map(str, product_ids))])


_seen_generation = ""


def _read_list(view: type[V], make: Callable[[Finder], V]) -> V:
    generation = kept.cache().generation(kept.LISTS)

    def made() -> V:
        global _seen_generation
        chosen = finder()
        chosen.refresh(is_changed=generation != _seen_generation)
        _seen_generation = generation
        return make(chosen)

    asked = hashlib.sha256(request.full_path.encode()).hexdigest()
    return _read(f"{generation}:{asked}", view, made)


def _read(key: str, view: type[V], make: Callable[[], V]) -> V:
    if auth.caller().is_staff:
        return make()
    answer = kept.cache().get(key, kept.FRESH_SECONDS, lambda: make().model_dump_json().encode())
    _tell_edge(answer.age_seconds)
    return view.model_validate_json(answer.body)


def _tell_edge(age_seconds: float) -> None:
    """Whoever stands between may answer in our place for what is left of the freshness."""

    @after_this_request
    def say(response: Response) -> Response:
        if response.status_code < 400:
            response.headers["Cache-Control"] = f"public, max-age={kept.FRESH_SECONDS:.0f}"
            response.headers["Age"] = str(round(age_seconds))
            response.vary.add("Authorization")
        return response
