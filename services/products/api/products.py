"""/products: browse, read, and for staff create, change and take off sale."""

import hashlib
from uuid import UUID

from flask import request

from chassis.base.problems import Forbidden, PreconditionFailed
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from chassis.web.preconditions import PreconditionRequired, seen_versions
from services.products import reading
from services.products.api.keyed import new_id
from services.products.models import Product
from services.products.schemas import (
    CategoryPage,
    CategoryQuery,
    NewProduct,
    ProductChange,
    ProductPage,
    ProductQuery,
    ProductView,
    SearchPage,
    SearchQuery,
)


class Products(Resource):
    @endpoint(allow=auth.ANYONE, raises=[Forbidden])
    def get(self, query: ProductQuery) -> ProductPage:
        """The products on sale, in an order and by filters. Staff may ask for what is not on sale, too."""
        return reading.products(query)

    @endpoint(allow=auth.STAFF, status=201, location="/products/{id}", idempotency="own")
    def post(self, body: NewProduct) -> ProductView:
        """Add a product. The request sent again with its Idempotency-Key gets the product as it is by then."""
        request_hash = hashlib.sha256(request.get_data()).hexdigest()
        product = Product.create(new_id(), request_hash=request_hash, **body.model_dump())
        reading.changed([UUID(product.id)])
        return ProductView.model_validate(product)


class OneProduct(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, product_id: UUID) -> ProductView:
        """One product. What is no longer sold only staff can see."""
        return reading.product(product_id)

    @endpoint(allow=auth.STAFF, raises=[PreconditionRequired, PreconditionFailed])
    def put(self, product_id: UUID, body: ProductChange) -> ProductView:
        """Replace what is said of the product; with `If-Match`, only if it is as the caller saw it."""
        seen = seen_versions()
        if body.stock_quantity is not None and seen is None:
            raise PreconditionRequired("Send If-Match with the ETag you saw, or a sale meanwhile would be undone.")
        given = body.model_dump()
        unless_given = [name for name in ("stock_quantity", "is_active") if given[name] is None]
        Product.change(product_id, seen, **{name: given[name] for name in given if name not in unless_given})
        reading.changed([product_id])
        return ProductView.model_validate(Product.get(product_id))

    @endpoint(allow=auth.STAFF, status=204, raises=[PreconditionFailed])
    def delete(self, product_id: UUID) -> None:
        """Take it off sale. Orders and staff still find it; what is held for orders stays held."""
        Product.change(product_id, seen_versions(), is_active=False)
        reading.changed([product_id])


class Search(Resource):
    @endpoint(allow=auth.ANYONE, raises=[Forbidden])
    def get(self, query: SearchQuery) -> SearchPage:
        """Products by words of their name, category, SKU and description, the best first; with facets on the first page."""
        return reading.search(query)


class Categories(Resource):
    @endpoint(allow=auth.ANYONE)
    def get(self, query: CategoryQuery) -> CategoryPage:
        """Every category with something on sale, by name, with how many products that is."""
        return reading.categories(query)
