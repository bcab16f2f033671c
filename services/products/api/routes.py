"""Every URL of the products service."""

from services.products.api.bulk import Export, Import
from services.products.api.internal import Quotes
from services.products.api.products import Categories, OneProduct, Products, Search

ROUTES = {
    "/products/": Products,
    "/products/search": Search,
    "/products/import": Import,
    "/products/export": Export,
    "/products/categories": Categories,
    "/products/<uuid:product_id>": OneProduct,
    "/internal/products": Quotes,
}
