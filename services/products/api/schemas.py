"""What the products API takes and answers."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from chassis import money
from chassis.paging import Page, PageView
from chassis.schemas import Body, Query, View
from services.products.listing import Sort
from services.products.models import Product

SKU = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Category = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Quantity = Annotated[int, Field(ge=0, le=1_000_000)]

MOST_QUOTES = 100


class ProductChange(Body):
    """What PUT replaces; stock and whether it is on sale stay as they are unless given."""

    sku: SKU
    name: Name
    description: str = Field(default="", max_length=5_000)
    category: Category
    price: money.Amount
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$")
    stock_quantity: Quantity | None = None
    """Pieces on hand as counted; needs `If-Match`, so that a sale meanwhile is not undone by it."""
    is_active: bool | None = None


class NewProduct(ProductChange):
    stock_quantity: Quantity = 0
    is_active: bool = True


class ProductView(View):
    id: UUID
    sku: str
    name: str
    description: str
    category: str
    price: Decimal
    currency: str
    stock_quantity: int
    is_active: bool
    version: int
    created_at: datetime
    updated_at: datetime

    def etag(self) -> str:
        return str(self.version)


class ProductQuery(Page):
    category: str | None = Field(default=None, max_length=100)
    sort: Sort = "newest"


class ProductPage(PageView):
    items: list[ProductView]


class CategoryQuery(Page):
    limit: int = Field(default=100, ge=1, le=100)


class CategoryView(View):
    category: str
    products: int


class CategoryPage(PageView):
    items: list[CategoryView]


def _split(ids: Any) -> Any:
    return ids.split(",") if isinstance(ids, str) else ids


class QuoteQuery(Query):
    """`ids`: product ids with commas between."""

    model_config = ConfigDict(str_max_length=40 * MOST_QUOTES)

    ids: Annotated[list[UUID], BeforeValidator(_split), Field(min_length=1, max_length=MOST_QUOTES)]


class QuoteView(View):
    """A product as an order takes it: `amount` is the price in minor units."""

    id: UUID
    sku: str
    name: str
    category: str
    amount: int
    currency: str
    is_active: bool
    stock_quantity: int

    @classmethod
    def of(cls, product: Product) -> Self:
        return cls(
            id=UUID(product.id),
            sku=product.sku,
            name=product.name,
            category=product.category,
            amount=money.to_minor(product.price),
            currency=product.currency,
            is_active=product.is_active,
            stock_quantity=product.stock_quantity,
        )


class Quotes(View):
    items: list[QuoteView]
