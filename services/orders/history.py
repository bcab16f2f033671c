"""Order lists, newest first. Every filter has an index."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, select

from chassis.web.fields import Since, Until
from chassis.web.pagination import Page, newest_first
from services.orders.models import Event, Order, OrderStatus


class OrderQuery(Page):
    """`since` and `until` bound the time of placement; whole days are inclusive."""

    status: OrderStatus | None = None
    since: Since | None = None
    until: Until | None = None


class AllOrdersQuery(OrderQuery):
    """`user_id`, `stuck` and `request` are for staff."""

    user_id: UUID | None = None
    stuck: bool = False
    """Needs an operator."""

    request: UUID | None = None
    """Placed or changed the order: its `X-Correlation-ID`, or a trace id."""


def page(
    query: OrderQuery, user_id: UUID | None = None, stuck: bool = False, request: UUID | None = None
) -> tuple[Sequence[Order], str | None]:
    """With the next cursor."""
    return newest_first(selection(query, user_id, stuck, request), Order.created_at, Order.id, query)


def selection(
    query: OrderQuery, user_id: UUID | None, stuck: bool = False, request: UUID | None = None
) -> Select[Order]:
    conditions = []
    if user_id is not None:
        conditions.append(Order.user_id == user_id)
    if query.status is not None:
        conditions.append(Order.status == query.status)
    if query.since is not None:
        conditions.append(Order.created_at >= query.since)
    if query.until is not None:
        conditions.append(Order.created_at < query.until)
    if stuck:
        conditions.append(Order.stuck_at.is_not(None))
    if request is not None:
        conditions.append(Order.id.in_(Event.orders_of_request(request)))
    return select(Order).where(*conditions)
