"""What an order does when its money moves at the bank without us."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from chassis.run.service import Service
from contracts.payments import PaymentMovedExternally, PaymentRefunded, RefundRefused
from contracts.reasons import Reason
from contracts.stock import StockRestocked
from services.orders import commands
from services.orders.rebuild import rebuild
from tests.installation import until
from tests.orders.conftest import Deliver, confirming, fresh_key, fulfilling, order_id, order_of, project, published


def moved(id_: UUID, refunded: int = 0, charged_back: int = 0, disputed: int = 0, position: int = 5) -> Any:
    return PaymentMovedExternally(id_, uuid4(), "EUR", refunded, charged_back, disputed, position)


@pytest.fixture
def paid(placed: dict[str, Any], deliver: Deliver) -> UUID:
    id_ = order_id(placed)
    deliver(*confirming(id_), *fulfilling(id_))
    return id_


@pytest.fixture
def ship(http: FlaskClient, staff: dict[str, str]) -> Callable[[UUID], Any]:
    def put(id_: UUID) -> Any:
        return http.put(f"/orders/{id_}/status", json={"status": "shipped"}, headers=staff)

    return put


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        ({"refunded": 2500}, "refunded_externally"),
        ({"charged_back": 2500}, "dispute_lost"),
        ({"refunded": 700, "charged_back": 1800}, "dispute_lost"),
    ],
)
def test_an_order_whose_money_is_gone_is_not_shipped(
    http: FlaskClient,
    paid: UUID,
    deliver: Deliver,
    staff: dict[str, str],
    ship: Callable[[UUID], Any],
    gone: dict[str, int],
    reason: str,
) -> None:
    system = deliver(moved(paid, **gone))
    assert published(system) == ["order.refunded", "stock.restock"]
    assert (system.sent[0].data["reason"], system.sent[0].data["amount"]) == (reason, 2500)
    assert http.get(f"/orders/{paid}", headers=staff).json["status"] == "refunded"
    assert ship(paid).status_code == 409


def test_a_shipped_order_whose_money_is_gone_stays_sold(
    paid: UUID, deliver: Deliver, ship: Callable[[UUID], Any], http: FlaskClient, staff: dict[str, str]
) -> None:
    assert ship(paid).status_code == 200
    deliver()
    assert published(deliver(moved(paid, refunded=2500))) == ["order.refunded"]
    assert http.get(f"/orders/{paid}", headers=staff).json["status"] == "refunded"


def test_the_money_may_be_gone_before_its_capture_is_reported(
    http: FlaskClient, placed: dict[str, Any], deliver: Deliver, staff: dict[str, str]
) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_))
    deliver(moved(id_, refunded=2500), *fulfilling(id_))
    assert http.get(f"/orders/{id_}", headers=staff).json["status"] == "refunded"


def test_a_part_refunded_externally_is_counted_once_in_any_order(
    http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str], ship: Callable[[UUID], Any]
) -> None:
    assert published(deliver(moved(paid, 700, position=9), moved(paid, 300, position=8), moved(paid, 700, position=9)))
    seen = http.get(f"/orders/{paid}", headers=staff).json
    assert (seen["status"], seen["refunded_amount"]) == ("confirmed", "7.00")
    timeline = http.get(f"/orders/{paid}/events?limit=100", headers=staff).json["items"]
    assert [each["type"] for each in timeline].count(PaymentMovedExternally.type) == 1
    refused = http.post(f"/orders/{paid}/refunds", json={"amount": "18.01"}, headers=staff | fresh_key())
    assert "18.00 EUR" in refused.json["detail"]


def settle(id_: UUID) -> None:
    commands.main(["sagas", "settle", str(id_)])


@pytest.mark.parametrize(
    ("captured", "gone", "why"),
    [
        (2500, {"refunded": 700}, "7.00 EUR of its payment was returned outside this system."),
        (2500, {"refunded": 1}, "0.01 EUR of its payment was returned outside this system."),
        (2500, {"charged_back": 700, "refunded": 100}, "8.00 EUR of its payment was returned outside this system."),
        (2500, {"disputed": 700}, "7.00 EUR of its payment is disputed."),
        (400, {}, "21.00 EUR of its payment was not collected."),
        (400, {"refunded": 100}, "21.00 EUR of its payment was not collected and 1.00 EUR of its payment was returned"),
    ],
)
def test_an_order_of_which_money_is_missing_is_shipped_only_when_an_operator_releases_it(
    placed: dict[str, Any],
    deliver: Deliver,
    ship: Callable[[UUID], Any],
    captured: int,
    gone: dict[str, int],
    why: str,
) -> None:
    id_ = order_id(placed)
    stock, payment = fulfilling(id_)
    deliver(*confirming(id_), stock, replace(payment, amount=captured))  # type: ignore[type-var]
    deliver(*([moved(id_, **gone)] if gone else []))
    refusal = ship(id_)
    assert (refusal.status_code, refusal.json["type"]) == (409, "/problems/order-status")
    assert f"This order cannot be shipped: {why}" in refusal.json["detail"]
    assert "./souk sagas settle" in refusal.json["detail"]
    settle(id_)
    assert ship(id_).status_code == 200


def test_what_an_operator_released_covers_only_what_was_missing_then(
    paid: UUID, deliver: Deliver, ship: Callable[[UUID], Any]
) -> None:
    deliver(moved(paid, refunded=700, position=5))
    settle(paid)
    deliver(moved(paid, refunded=800, position=6))
    assert "8.00 EUR" in ship(paid).json["detail"]
    deliver(moved(paid, refunded=0, position=7), moved(paid, refunded=700, position=8))
    assert ship(paid).status_code == 409


def test_nothing_is_released_that_is_not_missing_or_not_settled_yet(
    placed: dict[str, Any], deliver: Deliver, capsys: pytest.CaptureFixture[str]
) -> None:
    id_ = order_id(placed)
    deliver(*confirming(id_))
    with pytest.raises(SystemExit, match="still being settled"):
        settle(id_)
    deliver(*fulfilling(id_))
    with pytest.raises(SystemExit, match="No money is missing"):
        settle(id_)


def refunded_by_us(deliver: Deliver, id_: UUID, amount: int) -> None:
    deliver(PaymentRefunded(id_, uuid4(), uuid4(), amount, "EUR"))


def test_a_cancelled_order_whose_refund_comes_back_is_stuck_until_it_is_refunded_again(
    http: FlaskClient,
    paid: UUID,
    deliver: Deliver,
    staff: dict[str, str],
    stuck: Callable[[UUID], str | None],
) -> None:
    http.delete(f"/orders/{paid}", headers=staff)
    request = next(envelope for envelope in deliver().sent if envelope.type == "payment.refund")
    deliver(
        PaymentRefunded(paid, uuid4(), UUID(request.data["refund_id"]), 2500, "EUR"),
        StockRestocked(paid),
    )
    assert http.get(f"/orders/{paid}", headers=staff).json["status"] == "refunded"
    assert published(deliver(moved(paid, -2500))) == []
    seen = http.get(f"/orders/{paid}", headers=staff).json
    assert (seen["status"], seen["refunded_amount"]) == ("cancelled", "0.00")
    assert "The customer's bank returned the refund." in (stuck(paid) or "")
    commands.main(["sagas", "resume", str(paid)])
    assert published(deliver()) == ["payment.refund"]
    assert stuck(paid) is None


def test_a_refund_that_comes_back_may_be_settled_by_other_means(
    http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str], stuck: Callable[[UUID], str | None]
) -> None:
    deliver(moved(paid, refunded=2500, position=5))
    deliver(StockRestocked(paid), moved(paid, refunded=0, position=6))
    assert stuck(paid) is not None
    settle(paid)
    assert published(deliver()) == ["order.settled_externally", "order.refunded"]
    assert (stuck(paid), http.get(f"/orders/{paid}", headers=staff).json["status"]) == (None, "refunded")


@pytest.mark.parametrize("status", ["shipped", "delivered"])
def test_a_refund_that_comes_back_leaves_a_sent_order_as_it_was(
    http: FlaskClient,
    paid: UUID,
    deliver: Deliver,
    staff: dict[str, str],
    stuck: Callable[[UUID], str | None],
    status: str,
) -> None:
    for step in ("shipped", "delivered")[: 1 + (status == "delivered")]:
        assert http.put(f"/orders/{paid}/status", json={"status": step}, headers=staff).status_code == 200
    refunded_by_us(deliver, paid, 2500)
    assert http.get(f"/orders/{paid}", headers=staff).json["status"] == "refunded"
    deliver(moved(paid, -2500))
    assert (stuck(paid), http.get(f"/orders/{paid}", headers=staff).json["status"]) == (None, status)
    again = http.post(f"/orders/{paid}/refunds", json={}, headers=staff | fresh_key())
    assert again.status_code == 201


def test_a_dispute_holds_the_order_and_its_money_back(
    http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str], ship: Callable[[UUID], Any]
) -> None:
    deliver(moved(paid, disputed=2500, position=5))
    refusal = ship(paid)
    assert (refusal.status_code, refusal.json["type"]) == (409, "/problems/order-status")
    assert "25.00 EUR of its payment is disputed" in refusal.json["detail"]
    refund = http.post(f"/orders/{paid}/refunds", json={}, headers=staff | fresh_key())
    assert (refund.status_code, http.get(f"/orders/{paid}", headers=staff).json["disputed_amount"]) == (409, "25.00")
    deliver(moved(paid, position=6))
    assert ship(paid).status_code == 200


def test_a_cancelled_order_is_refunded_once_its_dispute_is_won(
    http: FlaskClient, paid: UUID, deliver: Deliver, customer: dict[str, str]
) -> None:
    deliver(moved(paid, disputed=2500, position=5))
    http.delete(f"/orders/{paid}", headers=customer)
    assert published(deliver(StockRestocked(paid))) == ["order.cancelled", "stock.restock"]
    assert published(deliver(moved(paid, position=6))) == ["payment.refund"]


@pytest.mark.parametrize("first", ["refusal", "restock"])
def test_a_refund_refused_because_the_money_is_gone_does_not_leave_the_order_stuck(
    first: str,
    http: FlaskClient,
    paid: UUID,
    deliver: Deliver,
    staff: dict[str, str],
    stuck: Callable[[UUID], str | None],
) -> None:
    http.delete(f"/orders/{paid}", headers=staff)
    request = next(envelope for envelope in deliver().sent if envelope.type == "payment.refund")
    refusal = RefundRefused(paid, UUID(request.data["refund_id"]), Reason.REFUND_REFUSED)
    replies = [refusal, StockRestocked(paid)]
    deliver(moved(paid, refunded=2500), *(replies if first == "refusal" else reversed(replies)))
    assert (stuck(paid), http.get(f"/orders/{paid}", headers=staff).json["status"]) == (None, "refunded")
    timeline = http.get(f"/orders/{paid}/events?limit=100", headers=staff).json["items"]
    assert ("order.stuck" in [each["type"] for each in timeline]) == (first == "refusal")


def test_a_rebuild_gives_the_same_order(
    http: FlaskClient, paid: UUID, deliver: Deliver, staff: dict[str, str], orders: Service
) -> None:
    deliver(moved(paid, refunded=300, disputed=1000), PaymentRefunded(paid, uuid4(), uuid4(), 200, "EUR"))
    settle(paid)
    deliver(moved(paid, refunded=100, disputed=1000, position=6))
    before = http.get(f"/orders/{paid}", headers=staff).json
    rows = _rows(orders)
    rebuild(orders.settings.database_url)
    assert http.get(f"/orders/{paid}", headers=staff).json == before
    assert _rows(orders) == rows
    assert (before["refunded_amount"], before["disputed_amount"]) == ("3.00", "10.00")


def _rows(orders: Service) -> list[Any]:
    with orders.store.engine.connect() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM orders ORDER BY id")).mappings()]


@pytest.mark.parametrize(("left", "refunded"), [(200, "2.00"), (699, "6.99")])
def test_money_that_came_back_is_not_counted_as_refunded(
    http: FlaskClient,
    paid: UUID,
    deliver: Deliver,
    staff: dict[str, str],
    orders: Service,
    left: int,
    refunded: str,
) -> None:
    assert published(deliver(moved(paid, refunded=700, position=5))) == ["order.refunded"]
    assert published(deliver(moved(paid, refunded=left, position=6))) == []
    rebuild(orders.settings.database_url)

    def is_counted() -> bool:
        # What is younger than any transaction in PostgreSQL is the projector's.
        project(orders)
        days = http.get("/orders/analytics", headers=staff).json["days"]
        return [day["refunded"] for day in days] == [refunded]

    until(is_counted)


@pytest.mark.parametrize(("expected", "status"), [("24.99", 409), ("25.00", 201), ("30.00", 201), (None, 201)])
def test_an_order_that_has_become_more_expensive_than_expected_is_refused(
    http: FlaskClient,
    product: Callable[..., dict[str, Any]],
    customer: dict[str, str],
    expected: str | None,
    status: int,
) -> None:
    body = order_of((product(), 2)) | ({"expected_total": expected} if expected else {})
    response = http.post("/orders/", json=body, headers=customer | fresh_key())
    assert response.status_code == status
    if status == 409:
        assert (response.json["type"], response.json["total"]) == ("/problems/price-risen", "25.00")
        assert response.json["detail"] == "The total is now 25.00 EUR."
