"""/orders/analytics: sales, for staff."""

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any, Self
from uuid import UUID

from pydantic import Field, ValidationInfo, field_validator
from sqlalchemy import ColumnElement, Row, Select, Table, desc, func, select

from chassis.base import clock
from chassis.security import auth
from chassis.storage import postgres
from chassis.web.api import Resource, endpoint
from chassis.web.fields import Day
from chassis.web.schemas import Query, View
from contracts.currencies import Currency
from contracts.money import AmountView
from services.orders.models.analytics import categories, days, products
from services.orders.settings import Settings

MAX_DAYS = 366
DEFAULT_DAYS = 30
MAX_CATEGORIES = 100


class AnalyticsQuery(Query):
    """UTC days, both inclusive; by default the last 30, at most a year."""

    since: Day | None = None
    until: Day | None = None
    currency: Currency | None = None
    top: int = Field(default=10, ge=1, le=100)

    @field_validator("until")
    @classmethod
    def a_year_at_most(cls, until: date | None, info: ValidationInfo) -> date | None:
        since = info.data.get("since")
        if until is not None and since is not None and not 0 <= (until - since).days < MAX_DAYS:
            raise ValueError(f"must be 0 to {MAX_DAYS - 1} days after since")
        return until

    @property
    def span(self) -> tuple[date, date]:
        last = self.until or (self.since + timedelta(days=DEFAULT_DAYS - 1) if self.since else clock.now().date())
        return self.since or last - timedelta(days=DEFAULT_DAYS - 1), last


class Sales(View):
    """Orders count on the day they were placed or confirmed, refunds on the day of the refund."""

    placed: int
    confirmed: int
    revenue: AmountView
    refunded: AmountView
    average_basket: AmountView | None
    """Revenue per confirmed order."""
    conversion: float | None

    @classmethod
    def of(cls, placed: int, confirmed: int, revenue: int, refunded: int, **more: date) -> Self:
        return cls(
            placed=placed,
            confirmed=confirmed,
            revenue=revenue,
            refunded=refunded,
            average_basket=round(revenue / confirmed) if confirmed else None,
            conversion=round(confirmed / placed, 4) if placed else None,
            **more,
        )


class DaySales(Sales):
    day: date


class CategorySales(View):
    category: str
    quantity: int
    revenue: AmountView


class ProductSales(CategorySales):
    product_id: UUID
    name: str


class AnalyticsView(View):
    since: date
    until: date
    currency: str
    total: Sales
    days: list[DaySales]
    """Oldest first; only days with activity."""
    categories: list[CategorySales]
    products: list[ProductSales]


class Analytics(Resource):
    @endpoint(allow=auth.STAFF, may_be_stale=True)
    def get(self, query: AnalyticsQuery) -> AnalyticsView:
        """Revenue, orders, average basket and conversion by day, and the best-selling categories and products."""
        currency = query.currency or Settings.current().currency
        first, last = query.span
        by_day = _of(days, days.columns, query, currency).order_by(days.c.day)
        daily = [DaySales.of(**_without(row, "currency")) for row in postgres.session().execute(by_day)]
        total = _of(
            days, [_sum(days, name) for name in ("placed", "confirmed", "revenue", "refunded")], query, currency
        )
        return AnalyticsView(
            since=first,
            until=last,
            currency=currency,
            total=Sales.of(**postgres.session().execute(total).one()._mapping),
            days=daily,
            categories=_categories(query, currency),
            products=_products(query, currency),
        )


def _categories(query: AnalyticsQuery, currency: str) -> list[CategorySales]:
    columns = [categories.c.category, _sum(categories, "quantity"), _sum(categories, "revenue")]
    chosen = _of(categories, columns, query, currency).group_by(categories.c.category)
    rows = chosen.order_by(desc("revenue"), categories.c.category).limit(MAX_CATEGORIES)
    return [CategorySales(**row._mapping) for row in postgres.session().execute(rows)]


def _products(query: AnalyticsQuery, currency: str) -> list[ProductSales]:
    names = [func.max(products.c[name]).label(name) for name in ("name", "category")]
    columns = [products.c.product_id, *names, _sum(products, "quantity"), _sum(products, "revenue")]
    chosen = _of(products, columns, query, currency).group_by(products.c.product_id)
    rows = chosen.order_by(desc("revenue"), products.c.product_id).limit(query.top)
    return [ProductSales(**row._mapping) for row in postgres.session().execute(rows)]


def _of(table: Table, columns: Iterable[ColumnElement[Any]], query: AnalyticsQuery, currency: str) -> Select[Any]:
    chosen: Select[Any] = select().add_columns(*columns)
    return chosen.where(table.c.day.between(*query.span), table.c.currency == currency)


def _sum(table: Table, name: str) -> ColumnElement[int]:
    return func.coalesce(func.sum(table.c[name]), 0).label(name)


def _without(row: Row[Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row._mapping.items() if key != name}
