"""Lists of orders by user, status and date; a page costs the same however many orders there are."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.dialects import postgresql

from chassis.run.service import Service
from chassis.storage import store
from services.orders import deadlines, history, projector
from services.orders.history import AllOrdersQuery
from services.orders.models import Order
from tests.orders.conftest import CUSTOMER, Deliver, confirming, fresh_key, order_of

ORDERS = 20_000
USERS = 30
NOW = datetime(2030, 1, 1, tzinfo=UTC)

Product = Callable[..., dict[str, Any]]


def ids(http: FlaskClient, path: str, who: dict[str, str]) -> list[str]:
    response = http.get(path, headers=who)
    assert response.status_code == 200, response.text
    return [order["id"] for order in response.json["items"]]


def test_a_list_is_filtered_by_user_status_and_date(
    http: FlaskClient, product: Product, customer: dict[str, str], staff: dict[str, str], deliver: Deliver
) -> None:
    body = order_of((product(), 1))
    first, second = [http.post("/orders/", json=body, headers=customer | fresh_key()).json for _ in range(2)]
    deliver(*confirming(UUID(first["id"])))
    for url, who in (("/orders/", customer), ("/orders/", staff), (f"/orders/user/{CUSTOMER}", customer)):
        assert ids(http, f"{url}?status=confirmed", who) == [first["id"]]
        assert ids(http, f"{url}?status=pending", who) == [second["id"]]
        assert ids(http, f"{url}?since={second['created_at']}", who) == [second["id"]]
        assert ids(http, f"{url}?until={second['created_at']}", who) == [first["id"]]
        assert ids(http, f"{url}?status=shipped", who) == []
        day = second["created_at"][:10]
        assert second["id"] in ids(http, f"{url}?since={day}&until={day}", who)
        assert ids(http, f"{url}?until=2001-01-01", who) == []
    assert ids(http, f"/orders/?user_id={CUSTOMER}&status=pending", staff) == [second["id"]]
    assert ids(http, f"/orders/?user_id={uuid4()}", staff) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "status"),
        ("since=yesterday", "since"),
        ("since=2026-01-01T00:00:00", "since"),
        ("since=1767225600", "since"),
        ("until=2026-02-30", "until"),
        ("since=2026-01-01T00:00:00Z%0A", "since"),
        ("x=1", "x"),
    ],
)
def test_an_invalid_filter_is_named(http: FlaskClient, customer: dict[str, str], query: str, field: str) -> None:
    response = http.get(f"/orders/?{query}", headers=customer)
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, field)


def test_staff_find_an_order_by_the_requests_that_placed_and_cancelled_it(
    http: FlaskClient, product: Product, customer: dict[str, str], staff: dict[str, str]
) -> None:
    def as_request(who: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        correlation, trace = uuid4(), uuid4().hex
        ids_ = {"X-Correlation-ID": str(correlation).upper(), "traceparent": f"00-{trace}-{'1' * 16}-01"}
        return [str(correlation), trace], {**who, **fresh_key(), **ids_}

    placing, headers = as_request(customer)
    order = http.post("/orders/", json=order_of((product(), 1)), headers=headers).json["id"]
    http.post("/orders/", json=order_of((product(), 1)), headers=as_request(customer)[1])
    cancelling, headers = as_request(customer)
    assert http.delete(f"/orders/{order}", headers=headers).status_code == 204
    for id_ in (*placing, *cancelling):
        assert ids(http, f"/orders/?request={id_}", staff) == [order]
        assert http.get(f"/orders/?request={id_}", headers=customer).status_code == 403
    assert ids(http, f"/orders/?request={uuid4()}", staff) == []
    events = http.get(f"/orders/{order}/events", headers=staff).json["items"]
    shown = {(event["correlation_id"].lower(), event["trace_id"]) for event in events}
    assert shown == {tuple(placing), tuple(cancelling)}
    own = http.get(f"/orders/{order}/events", headers=customer).json["items"]
    assert {(event["correlation_id"], event["trace_id"]) for event in own} == {(None, None)}


def test_only_staff_list_the_orders_of_others(http: FlaskClient, customer: dict[str, str]) -> None:
    assert http.get(f"/orders/?user_id={uuid4()}", headers=customer).status_code == 403
    assert http.get(f"/orders/?user_id={CUSTOMER}", headers=customer).status_code == 200


@pytest.fixture
def many(orders: Service) -> Service:
    """Orders of many users over months: one in a hundred pending, one in a thousand stuck, few due."""
    with orders.store.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orders (id, user_id, total_amount, status, created_at, updated_at, currency, lines,"
                " payment_method, version, due_at, stuck_at)"
                " SELECT gen_random_uuid(), CAST(lpad(to_hex(n % :users), 32, '0') AS uuid), 10,"
                " CASE WHEN n % 100 = 0 THEN 'pending' ELSE 'delivered' END, moment, moment, 'EUR', '[]', 'tok_x', 1,"
                " CASE WHEN n % 100 = 0 THEN moment END, CASE WHEN n % 1000 = 0 THEN moment END"
                " FROM generate_series(1, :orders) n, LATERAL (SELECT CAST(:now AS timestamptz)"
                " - n * interval '5 minutes' AS moment) m"
            ),
            {"users": USERS, "orders": ORDERS, "now": NOW},
        )
        connection.execute(
            text(
                "INSERT INTO events (id, stream, version, type, data, meta, occurred_at, sent_at)"
                " SELECT gen_random_uuid(), id, 1, 'stock.released', '{}', '{}', created_at, created_at FROM orders"
            )
        )
        connection.execute(text("ANALYZE"))
    return orders


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for inner in plan.get("Plans", []) for node in nodes(inner))]


def assert_does_not_grow(orders: Service, statement: Any, max_rows: int, **values: Any) -> None:
    """PostgreSQL uses an index and reads at most so many rows."""
    if not isinstance(statement, str):
        compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
        statement = str(compiled)
    with orders.store.engine.connect() as connection:
        [plan] = connection.execute(text(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"), values).scalar_one()
    for node in nodes(plan["Plan"]):
        seen = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        assert node["Node Type"] != "Seq Scan", f"{statement}\n{json.dumps(plan)}"
        assert seen <= max_rows, f"{seen} rows for {statement}\n{json.dumps(plan)}"


USER = UUID(int=7)
SHAPES = {
    "all": {},
    "one user's": {"user_id": USER},
    "pending": {"status": "pending"},
    "delivered": {"status": "delivered"},
    "one user's pending": {"user_id": USER, "status": "pending"},
    "of a day": {"since": NOW - timedelta(days=40), "until": NOW - timedelta(days=39)},
    "one user's of a month": {"user_id": USER, "since": NOW - timedelta(days=60), "until": NOW - timedelta(days=30)},
    "delivered of a day": {"status": "delivered", "until": NOW - timedelta(days=39)},
    "stuck": {"stuck": True},
    "of a request": {"request": UUID(int=8)},
}


def test_no_page_of_a_list_grows_with_the_orders(many: Service) -> None:
    for shape in SHAPES.values():
        query = AllOrdersQuery(**shape)
        statement = history.selection(query, query.user_id, query.stuck, query.request)
        for cursor in ("", f" AND (created_at, id) < ('{NOW - timedelta(days=35)}', '{uuid4()}')"):
            page = statement.where(text("true" + cursor)).order_by(Order.created_at.desc(), Order.id.desc())
            assert_does_not_grow(many, page.limit(21), 40)


def test_no_query_of_the_workers_grows_with_the_orders(many: Service) -> None:
    due = deadlines.due(NOW - timedelta(days=90)).limit(20)
    assert_does_not_grow(many, due, 40)
    assert_does_not_grow(many, deadlines.OLDEST_PENDING, 1)
    assert_does_not_grow(many, deadlines.STUCK_COUNT, 40)
    with many.store.engine.connect() as connection:
        transaction_id = connection.execute(text("SELECT transaction_id::text FROM events LIMIT 1")).scalar_one()
    values = {"transaction_id": transaction_id, "position": ORDERS - 1_000, "types": ["order.placed"], "limit": 20}
    assert_does_not_grow(many, projector.NEXT.text, 40, **values)


def test_a_worker_takes_a_batch_of_overdue_orders(many: Service) -> None:
    with store.active(many.store), many.store.transaction():
        assert len(deadlines.overdue(NOW)) == deadlines.BATCH
