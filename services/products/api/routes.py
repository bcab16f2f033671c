"""Every URL of the products service."""

from services.products.api.internal import Quotes
from services.products.api.products import Categories, OneProduct, Products

ROUTES = {
    "/products/": Products,
    "/products/categories": Categories,
    "/products/<uuid:product_id>": OneProduct,
    "/internal/products": Quotes,
}
