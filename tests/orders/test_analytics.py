"""What was sold: counted once whatever happens between, in whatever order transactions commit, and shown to staff."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from chassis.base import clock
from chassis.run.service import Service
from chassis.storage import store
from contracts.orders import Line, OrderPlaced
from contracts.payments import PaymentDeclined, PaymentRefunded
from contracts.reasons import Reason
from contracts.stock import StockReserved
from services.orders import projector
from services.orders.models import Event
from tests.orders.conftest import (
    Deliver,
    confirming,
    fresh_key,
    fulfilling,
    oldest_uncounted,
    order_of,
    project,
    project_all,
)

Product = Callable[..., dict[str, Any]]
Place = Callable[..., UUID]


@pytest.fixture
def place(http: FlaskClient, customer: dict[str, str]) -> Place:
    def order(*lines: tuple[dict[str, Any], int]) -> UUID:
        return UUID(http.post("/orders/", json=order_of(*lines), headers=customer | fresh_key()).json["id"])

    return order


def sales(http: FlaskClient, staff: dict[str, str], query: str = "") -> Any:
    response = http.get(f"/orders/analytics{query}", headers=staff)
    assert response.status_code == 200, response.text
    return response.json


def test_sales_are_reported_by_day_category_and_product(
    orders: Service, http: FlaskClient, product: Product, place: Place, deliver: Deliver, staff: dict[str, str]
) -> None:
    kettle, tea = product(), product(name="Mint tea", price="3.95", category="food")
    first, second, third = place((kettle, 2), (tea, 3)), place((tea, 1)), place((kettle, 1))
    place((kettle, 1))
    deliver(
        *confirming(first), *confirming(second), StockReserved(third), PaymentDeclined(third, uuid4(), Reason.DECLINED)
    )
    deliver(*fulfilling(first)[:1], PaymentRefunded(first, uuid4(), uuid4(), 1250, "EUR"))
    project_all(orders)
    shown = sales(http, staff)
    assert shown["total"] == {
        "placed": 4,
        "confirmed": 2,
        "revenue": "40.80",
        "refunded": "12.50",
        "average_basket": "20.40",
        "conversion": 0.5,
    }
    assert [(day["day"], day["confirmed"]) for day in shown["days"]] == [(clock.now().date().isoformat(), 2)]
    assert [tuple(sold.values()) for sold in shown["categories"]] == [("kitchen", 2, "25.00"), ("food", 4, "15.80")]
    assert [(sold["name"], sold["quantity"]) for sold in shown["products"]] == [("Copper kettle", 2), ("Mint tea", 4)]
    assert len(sales(http, staff, "?top=1")["products"]) == 1
    assert sales(http, staff, "?currency=USD")["total"]["placed"] == 0


def test_days_outside_are_not_counted(
    orders: Service, http: FlaskClient, product: Product, place: Place, staff: dict[str, str]
) -> None:
    place((product(), 1))
    project_all(orders)
    today = clock.now().date()
    yesterday = today - timedelta(days=1)
    assert sales(http, staff, f"?since={today}&until={today}")["total"]["placed"] == 1
    assert sales(http, staff, f"?since={yesterday}&until={yesterday}")["total"]["placed"] == 0
    assert sales(http, staff, f"?until={yesterday}")["days"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=2026-02-30", "since"),
        ("since=2026-02-01&until=2026-01-31", "until"),
        ("since=2025-01-01&until=2026-01-02", "until"),
        ("since=9999-12-31", "since"),
        ("since=1767225600", "since"),
        ("since=2026-01-01T00:00:00Z", "since"),
        ("until=0001-01-01", "until"),
        ("currency=eur", "currency"),
        ("top=0", "top"),
        ("group=week", "group"),
    ],
)
def test_an_invalid_range_is_named(http: FlaskClient, staff: dict[str, str], query: str, field: str) -> None:
    response = http.get(f"/orders/analytics?{query}", headers=staff)
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, field)


def test_analytics_are_for_staff(http: FlaskClient, customer: dict[str, str]) -> None:
    assert http.get("/orders/analytics").status_code == 401
    assert http.get("/orders/analytics", headers=customer).status_code == 403


def test_events_are_counted_once_however_often_the_projector_runs_or_crashes(
    orders: Service, http: FlaskClient, product: Product, place: Place, staff: dict[str, str]
) -> None:
    kettle = product()

    def die_before_the_commit() -> None:
        with store.active(orders.store), orders.store.transaction():
            projector.project()
            raise ConnectionAbortedError

    for _ in range(3):
        place((kettle, 1))
        project_all(orders)
        place((kettle, 1))
        with pytest.raises(ConnectionAbortedError):
            die_before_the_commit()
    project_all(orders)
    assert sales(http, staff)["total"]["placed"] == 6


def an_order() -> Event:
    id_ = uuid4()
    placed = OrderPlaced(id_, uuid4(), [Line(uuid4(), "Kettle", 1, 100, "kitchen")], 100, "EUR", "tok_success")
    return Event(**Event.values(placed, id_, 1, clock.now(), is_sent=False))


def test_an_event_that_commits_after_a_later_one_is_counted_too(
    orders: Service, http: FlaskClient, staff: dict[str, str]
) -> None:
    """Its position is lower than one that was there before it: "go on behind the last position" would lose it."""
    engine = orders.store.engine
    with Session(engine) as slow, Session(engine) as quick:
        slow.add(early := an_order())
        slow.flush()
        quick.add(late := an_order())
        quick.commit()
        assert early.position < late.position
        project(orders)
        assert sales(http, staff)["total"]["placed"] == 0, "while an older transaction may still bring its own"
        assert oldest_uncounted() == late.occurred_at.timestamp()
        slow.commit()
    project_all(orders)
    assert sales(http, staff)["total"]["placed"] == 2
    assert oldest_uncounted() == 0


def test_of_two_projectors_one_skips(
    orders: Service, http: FlaskClient, product: Product, place: Place, staff: dict[str, str]
) -> None:
    place((product(), 1))
    project_all(orders)
    place((product(), 1))
    with orders.store.engine.begin() as other:
        other.execute(text("SELECT 1 FROM projections FOR UPDATE"))
        project(orders)
        assert sales(http, staff)["total"]["placed"] == 1
    project_all(orders)
    assert sales(http, staff)["total"]["placed"] == 2


def test_a_position_from_another_server_is_not_continued(
    orders: Service, http: FlaskClient, product: Product, place: Place, staff: dict[str, str]
) -> None:
    with orders.store.engine.begin() as connection:
        connection.execute(text("INSERT INTO projections VALUES ('analytics', '99999999999', 0)"))
    place((product(), 1))
    project(orders)
    assert sales(http, staff)["total"]["placed"] == 0
