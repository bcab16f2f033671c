"""URLs of the products service."""

from services.products.api.bulk import Export, Import
from services.products.api.internal import Quotes
from services.products.api.products import Categories, OneProduct, Products, Search
from services.products.api.recommendations import OwnRecommendations, ProductRecommendations
from services.products.api.stock import Adjustments, Movements, ProductStock

ROUTES = {
    "/products/": Products,
    "/products/search": Search,
    "/products/import": Import,
    "/products/export": Export,
    "/products/categories": Categories,
    "/products/recommendations": OwnRecommendations,
    "/products/<uuid:product_id>": OneProduct,
    "/products/<uuid:product_id>/recommendations": ProductRecommendations,
    "/products/<uuid:product_id>/stock": ProductStock,
    "/products/<uuid:product_id>/stock-adjustments": Adjustments,
    "/products/<uuid:product_id>/stock-movements": Movements,
    "/internal/products": Quotes,
}
