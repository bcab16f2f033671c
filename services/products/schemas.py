"""Request and response bodies of the products API."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, field_serializer, model_validator

from chassis.base.problems import Invalid
from chassis.base.validation import Matches
from chassis.web.fields import OneLine
from chassis.web.pagination import Page, PageView
from chassis.web.schemas import Body, Query, View
from contracts import money
from contracts.currencies import Currency
from services.products.models import Product
from services.products.search.facets import CategoryCount, Facets
from services.products.search.filters import Filters, Order, SearchOrder
from services.products.search.query import NO_WORD
from services.products.search.words import distinct

SKU = Annotated[
    str,
    Matches(
        "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
        "must have 1 to 64 letters, digits and . _ -, and begin with a letter or digit",
    ),
]
Name = Annotated[str, OneLine(200)]
Category = Annotated[str, OneLine(100)]
Quantity = Annotated[int, Field(ge=0, le=1_000_000)]

MAX_QUOTES = 100


class ProductChange(Body):
    """Stock and `is_active` stay unchanged unless given."""

    example: ClassVar[dict[str, Any]] = {
        "sku": "LANTERN-1",
        "name": "Brass lantern",
        "category": "lamps",
        "price": "24.90",
    }

    may_hold_numbers = frozenset({"sku", "name", "description", "category"})

    sku: SKU
    name: Name
    description: str = Field(default="", max_length=5_000)
    category: Category
    price: money.DecimalAmount
    currency: Currency = "EUR"
    stock_quantity: Quantity | None = None
    """Units on hand as counted; needs `If-Match`."""
    is_active: bool | None = None


class NewProduct(ProductChange):
    example: ClassVar[dict[str, Any]] = {**ProductChange.example, "stock_quantity": 20}

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


class ProductFilters(Page):
    category: str | None = Field(default=None, max_length=100)
    min_price: money.DecimalAmount | None = None
    max_price: money.DecimalAmount | None = None
    in_stock: bool | None = None
    active: Literal["yes", "no", "all"] = "yes"
    """Only staff may choose anything but `yes`."""

    @field_serializer("min_price", "max_price")
    def _price(self, price: Decimal | None) -> str | None:
        return None if price is None else f"{price:.2f}"

    def filters(self) -> Filters:
        is_active = {"yes": True, "no": False, "all": None}[self.active]
        return Filters(self.category, self.min_price, self.max_price, self.in_stock, is_active)


class ProductQuery(ProductFilters):
    sort: Order = "newest"


class ProductPage(PageView):
    items: list[ProductView]


class SearchQuery(ProductFilters):
    """`q` may hold prefixes and typos. Facets come with the first page."""

    # The cursor contains the query.
    model_config = ConfigDict(str_max_length=8_000)

    q: str = Field(default="", max_length=200)
    sort: SearchOrder | None = None
    """Default: relevance with `q`, else newest."""

    @field_serializer("q")
    def _meaning(self, q: str) -> str:
        """The words searched for."""
        return " ".join(distinct(q)) or (q and NO_WORD)

    @property
    def order(self) -> SearchOrder:
        return self.sort or ("relevance" if self.q else "newest")

    @model_validator(mode="after")
    def _relevance_needs_words(self) -> Self:
        if self.sort == "relevance" and not self.q:
            raise Invalid.fields(("sort", "must not be relevance without a q"))
        return self


class SearchPage(ProductPage):
    corrected: str | None = None
    """The corrected words searched for."""
    facets: Facets | None = None


class ExportQuery(Query):
    format: Literal["csv", "jsonl"] = "csv"


class RefusedRow(View):
    """`line` to `last_line`, from 1, in the body."""

    line: int
    last_line: int
    sku: str
    field: str
    reason: str


class ImportReport(View):
    """Rows are added, updated, unchanged or refused; `lines` also counts the header and blank lines.

    `stock_ignored`: rows whose stock differs; an import never changes it.
    """

    COUNTS: ClassVar[tuple[str, ...]] = ("added", "updated", "unchanged", "refused", "stock_ignored")

    lines: int
    added: int
    updated: int
    unchanged: int
    refused: int
    stock_ignored: int
    rows: list[RefusedRow]


class CategoryPage(PageView):
    items: list[CategoryCount]


class CategoryQuery(Page):
    limit: int = Field(default=100, ge=1, le=100)


def _split(ids: Any) -> Any:
    return ids.split(",") if isinstance(ids, str) else ids


class QuoteQuery(Query):
    """`ids`: comma-separated product ids."""

    model_config = ConfigDict(str_max_length=40 * MAX_QUOTES)

    ids: Annotated[list[UUID], BeforeValidator(_split), Field(min_length=1, max_length=MAX_QUOTES)]


class QuoteView(View):
    """`amount`: minor units."""

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


class RecommendationQuery(Query):
    limit: int = Field(default=10, ge=1, le=50)


class RecommendationView(View):
    """`because`: bought_together, popular_in_category or popular."""

    because: str
    product: ProductView


class RecommendationsView(View):
    items: list[RecommendationView]
