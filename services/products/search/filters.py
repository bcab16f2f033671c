"""Filters and orders of product lists."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from services.products.models import Product

Order = Literal["newest", "name", "price", "price_desc", "popular"]

SearchOrder = Literal["relevance", "newest", "name", "price", "price_desc", "popular"]

FIELDS: dict[str, tuple[str, bool]] = {
    "newest": ("created_at", True),
    "name": ("name", False),
    "price": ("price", False),
    "price_desc": ("price", True),
    "popular": ("sold_quantity", True),
}
"""Field, and whether it descends; ids break ties in the same direction."""

Value = datetime | Decimal | str | int


@dataclass(frozen=True)
class Filters:
    """None: any. Both prices are included."""

    category: str | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    in_stock: bool | None = None
    is_active: bool | None = True

    def match(self, product: Product) -> bool:
        min_price, max_price = self.min_price or product.price, self.max_price or product.price
        return (
            self.category in (None, product.category)
            and min_price <= product.price <= max_price
            and self.in_stock in (None, product.stock_quantity > 0)
            and self.is_active in (None, product.is_active)
        )


@dataclass(frozen=True)
class Place:
    value: Value
    product_id: str
