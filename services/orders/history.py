"""Lists of orders, newest first. Each filter that is offered ends in an index: a page costs the same at a million orders."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import AwareDatetime, Field
from sqlalchemy import Select, select

from chassis.web.pagination import Page, newest_first
from services.orders.models import Order, OrderStatus


class OrderQuery(Page):
    """`since` and `until` bound when the order was placed, the first inclusive, the second not."""

    status: OrderStatus | None = None
    since: AwareDatetime | None = Field(default=None, examples=["2030-01-01T00:00:00Z"])
    until: AwareDatetime | None = None


class AllOrdersQuery(OrderQuery):
    """`user_id` and `stuck` are for staff."""

    user_id: UUID | None = None
    stuck: bool = False
    """Only those whose undoing waits for somebody."""


def page(query: OrderQuery, user_id: UUID | None = None, stuck: bool = False) -> tuple[Sequence[Order], str | None]:
    """One page of one user's orders, or of everybody's, and the cursor of the next."""
    return newest_first(selection(query, user_id, stuck), Order.created_at, Order.id, query)


def selection(query: OrderQuery, user_id: UUID | None, stuck: bool = False) -> Select[Order]:
    chosen = select(Order)
    if user_id is not None:
        chosen = chosen.where(Order.user_id == user_id)
    if query.status is not None:
        chosen = chosen.where(Order.status == query.status)
    if query.since is not None:
        chosen = chosen.where(Order.created_at >= query.since)
    if query.until is not None:
        chosen = chosen.where(Order.created_at < query.until)
    if stuck:
        chosen = chosen.where(Order.stuck_at.is_not(None))
    return chosen
