"""/products: browse, search, read, edit."""

import hashlib
from uuid import UUID

from flask import request

from chassis.base.problems import Forbidden, NotFound, PreconditionFailed
from chassis.security import auth
from chassis.web import pagination
from chassis.web.api import Resource, endpoint
from chassis.web.preconditions import PreconditionRequired, seen_versions
from chassis.web.schemas import Rendered
from services.products import cache, changes
from services.products.api.caching import cached, cached_list
from services.products.api.ids import new_id
from services.products.models import Product
from services.products.schemas import (
    CategoryPage,
    CategoryQuery,
    NewProduct,
    ProductChange,
    ProductFilters,
    ProductPage,
    ProductQuery,
    ProductView,
    SearchPage,
    SearchQuery,
)
from services.products.search.facets import CategoryCount, facets_of
from services.products.search.finder import Finder
from services.products.search.pages import list_page, search_page


class Products(Resource):
    @endpoint(allow=auth.ANYONE, raises=[Forbidden])
    def get(self, query: ProductQuery) -> Rendered[ProductPage]:
        """The products on sale. Staff may also list those off sale."""
        _check_allowed(query)

        def page(finder: Finder) -> ProductPage:
            products, next_ = list_page(finder, query, query.filters(), query.sort)
            return ProductPage(items=[ProductView.model_validate(each) for each in products], next=next_)

        return cached_list(query, page)

    @endpoint(allow=auth.STAFF, status=201, location="/products/{id}", idempotency="own")
    def post(self, body: NewProduct) -> ProductView:
        """Add a product. Repeating the Idempotency-Key returns the product in its current state."""
        request_hash = hashlib.sha256(request.get_data()).hexdigest()
        product = Product.create(new_id(), request_hash=request_hash, **body.model_dump())
        changes.publish([UUID(product.id)])
        return ProductView.model_validate(product)


class OneProduct(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, product_id: UUID) -> Rendered[ProductView]:
        """One product. Only staff see those off sale."""
        return cached(cache.product_key(product_id), lambda: ProductView.model_validate(visible_product(product_id)))

    @endpoint(allow=auth.STAFF, raises=[PreconditionRequired, PreconditionFailed])
    def put(self, product_id: UUID, body: ProductChange) -> ProductView:
        """Replace the description; with `If-Match`, only if unchanged."""
        seen = seen_versions()
        if body.stock_quantity is not None and seen is None:
            raise PreconditionRequired("Send the product's ETag in If-Match, or a sale made meanwhile would be undone.")
        given = body.model_dump()
        kept = [name for name in ("stock_quantity", "is_active") if given[name] is None]
        Product.change(product_id, seen, **{name: given[name] for name in given if name not in kept})
        changes.publish([product_id])
        return ProductView.model_validate(Product.get(product_id))

    @endpoint(allow=auth.STAFF, status=204, raises=[PreconditionFailed])
    def delete(self, product_id: UUID) -> None:
        """Take a product off sale. Units held for orders stay held."""
        Product.change(product_id, seen_versions(), is_active=False)
        changes.publish([product_id])


class Search(Resource):
    @endpoint(allow=auth.ANYONE, raises=[Forbidden])
    def get(self, query: SearchQuery) -> Rendered[SearchPage]:
        """Search name, category, SKU and description, best match first. Facets come with the first page."""
        _check_allowed(query)

        def page(finder: Finder) -> SearchPage:
            found = search_page(finder, query.q, query, query.filters(), query.order)
            return SearchPage(
                items=[ProductView.model_validate(each) for each in found.products],
                next=found.next,
                corrected=found.query.corrected if found.query else None,
                facets=None if query.cursor else facets_of(finder, found.query, query.filters()),
            )

        return cached_list(query, page)


class Categories(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, query: CategoryQuery) -> Rendered[CategoryPage]:
        """Categories with products on sale, by name, with counts."""
        last = pagination.decode(query.cursor, 1)[0] if query.cursor else ""

        def page(finder: Finder) -> CategoryPage:
            counts = [pair for pair in finder.categories() if pair[0] > last]
            items = [CategoryCount(category=name, products=count) for name, count in counts[: query.limit]]
            next_ = pagination.encode(items[-1].category) if len(counts) > query.limit else None
            return CategoryPage(items=items, next=next_)

        return cached_list(query, page)


def visible_product(product_id: UUID) -> Product:
    """Raises NotFound for products off sale, except for staff."""
    product = Product.get(product_id)
    if not (product.is_active or auth.caller().is_staff):
        raise NotFound("Product not found.")
    return product


def _check_allowed(query: ProductFilters) -> None:
    if query.active != "yes" and not auth.caller().is_staff:
        raise Forbidden("Only staff can list products that are off sale.")
