"""Every URL of the products service."""

from services.products.api.internal import Quotes
from services.products.api.products import Categories, OneProduct, Products, Search

ROUTES = {
    "/products/": Products,
    "/products/search": Search,
    "/products/categories": Categories,
    "/products/<uuid:product_id>": OneProduct,
    "/internal/products": Quotes,
}
